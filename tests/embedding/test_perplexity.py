"""Masked-language-model loss: against models whose scores are known by hand."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from tape_bench.data.vocabulary import MEGATRON_IUPAC, TAPE_IUPAC, Vocabulary
from tape_bench.embedding import perplexity as masking
from tape_bench.embedding.perplexity import masked_loss
from tape_bench.errors import ModelError
from tape_bench.models.embedder import Identity
from tape_bench.models.tape_bert.adapter import TapeBertEmbedder
from tape_bench.models.tape_bert.network import TapeBert, TapeBertConfig

RANDOM = np.random.default_rng(0)
PROTEINS = [
    "".join(RANDOM.choice(list("ACDEFGHIKLMNPQRSTVWY"), size=RANDOM.integers(1, 60)))
    for _ in range(40)
]


class Scores:
    """A model whose scores are a function of what it sees; remembers what that was."""

    def __init__(self, score, vocabulary: Vocabulary = TAPE_IUPAC, padding: int = 0) -> None:
        self.score = score
        self.vocabulary = vocabulary
        self.padding = padding
        self.seen: list[np.ndarray] = []
        self.batches: list[int] = []

    def token_logits(self, token_ids):
        self.batches.append(len(token_ids))
        self.seen += [ids.copy() for ids in token_ids]
        found = []
        for ids in token_ids:
            logits = np.full((len(ids), len(self.vocabulary.tokens) + self.padding), 50.0)
            logits[:, : len(self.vocabulary.tokens)] = self.score(ids)
            found.append(logits.astype(np.float32))
        return found


def uniform(ids: np.ndarray) -> np.ndarray:
    return np.zeros((len(ids), 1))


def neighbourly(ids: np.ndarray) -> np.ndarray:
    """Scores that depend on the whole sequence as it is seen, unevenly."""
    tokens = np.arange(30)[None, :]
    left = np.roll(ids, 1)[:, None]
    return np.sin(tokens * 1.7 + left) + np.cos(tokens + ids.sum()) + (ids[:, None] == tokens)


class TestByHand:
    def test_no_preference_is_the_size_of_the_vocabulary(self):
        found = masked_loss(Scores(uniform), PROTEINS)
        assert found.loss == pytest.approx(math.log(30), abs=1e-12)
        assert found.perplexity == pytest.approx(30, abs=1e-9)

    def test_rows_that_pad_the_vocabulary_do_not_count(self):
        found = masked_loss(Scores(uniform, MEGATRON_IUPAC, padding=97), PROTEINS)
        assert found.perplexity == pytest.approx(31, abs=1e-9)

    def test_always_the_same_guess(self):
        alanine = np.where(np.arange(30) == TAPE_IUPAC.tokens.index("A"), math.log(59), 0.0)
        model = Scores(lambda ids: np.tile(alanine, (len(ids), 1)))
        found = masked_loss(model, ["AC"], every_residue=True)
        # Of 29 ones and one 59, A has 59/88 and C has 1/88.
        assert found.loss == pytest.approx(-(math.log(59 / 88) + math.log(1 / 88)) / 2, abs=1e-6)
        assert found.perplexity == pytest.approx(88 / math.sqrt(59), rel=1e-6)
        assert (found.accuracy, found.masked, found.residues) == (0.5, 2, 2)

    def test_a_model_that_sees_everything_still_misses_what_is_masked(self):
        # It repeats what it sees: right only where a residue was selected and left as it is.
        model = Scores(lambda ids: 100.0 * (ids[:, None] == np.arange(30)))
        found = masked_loss(model, PROTEINS)
        assert 0 < found.accuracy < 0.25
        assert found.loss == pytest.approx(100 * (1 - found.accuracy), rel=1e-3)

    def test_background_is_the_entropy_of_the_letters(self):
        found = masked_loss(Scores(uniform), ["AAC", "C", "AAAA"])
        share = np.array([6, 2]) / 8
        assert found.background == pytest.approx(np.exp(-(share * np.log(share)).sum()))
        even = masked_loss(Scores(uniform), ["ACDEFGHIKLMNPQRSTVWY"])
        assert even.background == pytest.approx(20)

    def test_a_loss_beyond_all_bounds(self):
        wrong = Scores(lambda ids: np.tile(np.where(np.arange(30) == 0, 5e3, 0.0), (len(ids), 1)))
        found = masked_loss(wrong, ["MKV"])
        assert found.loss == pytest.approx(5000)
        assert found.perplexity == math.inf

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_scores_that_are_not_finite(self, value):
        with pytest.raises(ModelError, match="not finite"):
            masked_loss(Scores(lambda ids: np.full((len(ids), 30), value)), ["MKV"])


class TestRecipe:
    def test_shares(self):
        proteins = ["".join(RANDOM.choice(list("ACDEFGHIKL"), size=1000)) for _ in range(40)]
        model = Scores(uniform)
        found = masked_loss(model, proteins)
        assert (found.masked, found.residues) == (40 * 150, 40_000)
        before = np.array([TAPE_IUPAC.encode(protein) for protein in proteins])
        after = np.array(model.seen)
        masked = after == TAPE_IUPAC.mask
        replaced = (after != before) & ~masked
        # A random token is the mask in 1 of 30 draws, and the true residue in another.
        for count, share in (
            (masked.sum(), 0.8 + 0.1 / 30),
            (replaced.sum(), 0.1 * 28 / 30),
            (found.masked - masked.sum() - replaced.sum(), 0.1 + 0.1 / 30),
        ):
            assert binomtest(int(count), found.masked, share).pvalue > 1e-4
        # Every token is drawn, special ones too; <mask> cannot be told from masking.
        assert set(after[replaced].tolist()) == set(range(30)) - {TAPE_IUPAC.mask}
        # Nowhere along the protein are residues hidden more often than elsewhere.
        halves = (masked | replaced)[:, :500].sum(), (masked | replaced).sum()
        assert binomtest(int(halves[0]), int(halves[1]), 0.5).pvalue > 1e-4

    def test_at_least_one_residue(self):
        assert masked_loss(Scores(uniform), ["M", "MK"]).masked == 2

    def test_the_seed_decides(self):
        def hidden(seed: int) -> list[np.ndarray]:
            model = Scores(uniform)
            masked_loss(model, PROTEINS, seed)
            return model.seen

        same = [np.array_equal(a, b) for a, b in zip(hidden(1), hidden(1), strict=True)]
        other = [np.array_equal(a, b) for a, b in zip(hidden(1), hidden(2), strict=True)]
        assert all(same)
        assert not all(other)

    def test_the_same_residues_whatever_the_vocabulary(self):
        tape, megatron = Scores(uniform), Scores(uniform, MEGATRON_IUPAC)
        masked_loss(tape, PROTEINS)
        masked_loss(megatron, PROTEINS)
        for a, b in zip(tape.seen, megatron.seen, strict=True):
            np.testing.assert_array_equal(a == 1, b == 1)


class TestIndependence:
    @pytest.mark.parametrize("every_residue", [False, True])
    def test_of_batches(self, every_residue, monkeypatch):
        proteins = [protein[:20] for protein in PROTEINS]
        together = Scores(neighbourly)
        one = masked_loss(together, proteins, every_residue=every_residue)
        monkeypatch.setattr(masking, "PADDED_TOKENS", 1)
        single = Scores(neighbourly)
        two = masked_loss(single, proteins, every_residue=every_residue)
        assert two == one
        assert len(single.batches) > len(together.batches)

    def test_of_order(self):
        one = masked_loss(Scores(neighbourly), PROTEINS)
        two = masked_loss(Scores(neighbourly), PROTEINS[::-1])
        assert two.loss == pytest.approx(one.loss, rel=1e-12)
        assert (two.masked, two.accuracy) == (one.masked, one.accuracy)

    def test_of_company(self):
        alone = Scores(neighbourly)
        masked_loss(alone, [PROTEINS[3]])
        company = Scores(neighbourly)
        masked_loss(company, PROTEINS)
        assert any(np.array_equal(alone.seen[0], ids) for ids in company.seen)


def test_every_residue_is_brute_force():
    model = Scores(neighbourly)
    total, count, right = 0.0, 0, 0
    for protein in PROTEINS[:6]:
        truth = TAPE_IUPAC.encode(protein)
        for place in range(len(truth)):
            ids = truth.copy()
            ids[place] = TAPE_IUPAC.mask
            scores = neighbourly(ids)[place]
            probabilities = np.exp(scores) / np.exp(scores).sum()
            total -= math.log(probabilities[truth[place]])
            right += probabilities.argmax() == truth[place]
            count += 1
    found = masked_loss(model, PROTEINS[:6], every_residue=True)
    assert found.loss == pytest.approx(total / count, rel=1e-6)
    assert found.accuracy == right / count
    assert found.masked == found.residues == count


@pytest.mark.parametrize(("every_residue", "total"), [(False, 5), (True, 13)])
def test_progress_reaches_the_end(every_residue, total):
    reports: list[tuple[int, int]] = []
    masked_loss(
        Scores(uniform), ["MKV", "MK"], 0, every_residue, lambda *report: reports.append(report)
    )
    assert reports[-1] == (total, total)


LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
HEADS, SIZE = 4, 8
WIDTH = HEADS * SIZE


def chains(count: int, seed: int) -> list[str]:
    """Proteins of 14 residues in which each letter has one that mostly follows it."""
    random = np.random.default_rng(seed)
    follower = np.random.default_rng(0).permutation(20)
    letters = random.integers(20, size=(count, 14))
    for place in range(1, 14):
        follows = random.random(count) < 0.9
        letters[follows, place] = follower[letters[follows, place - 1]]
    return ["".join(LETTERS[chain]) for chain in letters]


@pytest.fixture(scope="module")
def one_thread():
    """Tiny operations on several threads mostly wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(one_thread) -> TapeBert:
    config = TapeBertConfig(
        vocab_size=30,
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        intermediate_size=64,
        max_position_embeddings=16,
        type_vocab_size=1,
        layer_norm_eps=1e-12,
        hidden_act="gelu",
    )
    torch.manual_seed(0)
    network = TapeBert(config, masked_head=True)
    for table in (network.words, network.positions, network.types):
        torch.nn.init.normal_(table.weight, std=0.2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    random = np.random.default_rng(1)
    for step in range(400):
        ids = np.full((64, 16), TAPE_IUPAC.sep)
        ids[:, 0] = TAPE_IUPAC.cls
        ids[:, 1:15] = [TAPE_IUPAC.encode(p) for p in chains(64, seed=step)]
        masked = np.zeros(ids.shape, bool)
        masked[:, 1:15] = random.random((64, 14)) < 0.15
        seen = np.where(masked, TAPE_IUPAC.mask, ids)
        hidden = network(torch.from_numpy(seen.ravel()), [16] * 64)
        guesses = network.logits(hidden)[torch.from_numpy(masked.ravel())]
        loss = torch.nn.functional.cross_entropy(guesses, torch.from_numpy(ids[masked]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


class TestAWrongCheckpointShows:
    """A small transformer, trained here until it is good, then read wrongly on purpose."""

    def perplexity(self, network: TapeBert) -> float:
        identity = Identity("tiny", "tiny", "1", None, 0, WIDTH, 14, ())
        model = TapeBertEmbedder(identity, network, "token")
        return masked_loss(model, chains(200, seed=10_000)).perplexity

    def test_read_rightly(self, trained):
        assert self.perplexity(trained) < 4

    def test_embeddings_shifted_by_a_row(self, trained):
        wrong = copy.deepcopy(trained)
        wrong.words.weight.data = wrong.words.weight.data.roll(1, dims=0)
        assert self.perplexity(wrong) > 20

    @pytest.mark.parametrize("written", [(1, 0, 2), (1, 2, 0)])
    @pytest.mark.parametrize("direction", ["read", "written"])
    def test_query_key_value_rows_in_another_order(self, trained, written, direction):
        # Rows are [3, heads, size] here; Megatron has also written [heads, 3, size] and
        # [heads, size, 3].
        wrong = copy.deepcopy(trained)
        parts = (wrong.blocks[0].query, wrong.blocks[0].key, wrong.blocks[0].value)
        rows = torch.cat([part.weight.data for part in parts])
        dims = (3, HEADS, SIZE)
        if direction == "written":
            rows = rows.view(*dims, -1).permute(*written, 3)
        else:
            stored = [dims[axis] for axis in written]
            rows = rows.view(*stored, -1).permute(*np.argsort(written).tolist(), 3)
        for part, weight in zip(parts, rows.reshape(3, WIDTH, WIDTH), strict=True):
            part.weight.data = weight.contiguous()
        assert self.perplexity(wrong) > 20
