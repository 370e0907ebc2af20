"""Short names of well-known models, and what their makers say of training data and licences."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

T = TypeVar("T")

SHORT: Mapping[str, str] = MappingProxyType(
    {
        "esm2_t6_8M": "facebook/esm2_t6_8M_UR50D",
        "esm2_t12_35M": "facebook/esm2_t12_35M_UR50D",
        "esm2_t30_150M": "facebook/esm2_t30_150M_UR50D",
        "esm2_t33_650M": "facebook/esm2_t33_650M_UR50D",
        "esm2_t36_3B": "facebook/esm2_t36_3B_UR50D",
        "esm2_t48_15B": "facebook/esm2_t48_15B_UR50D",
        "esm1b": "facebook/esm1b_t33_650M_UR50S",
        **{f"esm1v_{n}": f"facebook/esm1v_t33_650M_UR90S_{n}" for n in range(1, 6)},
        "esmc_300m": "biohub/ESMC-300M",
        "esmc_600m": "biohub/ESMC-600M",
        "esmc_6b": "biohub/ESMC-6B",
        "prot_t5_xl": "Rostlab/prot_t5_xl_uniref50",
        "prot_t5_xl_half": "Rostlab/prot_t5_xl_half_uniref50-enc",
        "prostt5": "Rostlab/ProstT5",
        "prostt5_fp16": "Rostlab/ProstT5_fp16",
        "prot_bert": "Rostlab/prot_bert",
        "prot_bert_bfd": "Rostlab/prot_bert_bfd",
        "ontoprotein": "zjunlp/OntoProtein",
        "ankh_base": "ElnaggarLab/ankh-base",
        "ankh_large": "ElnaggarLab/ankh-large",
        "ankh3_large": "ElnaggarLab/ankh3-large",
        "ankh3_xl": "ElnaggarLab/ankh3-xl",
        "saprot_35m": "westlake-repl/SaProt_35M_AF2",
        "saprot_650m": "westlake-repl/SaProt_650M_AF2",
    }
)
"""What is typed after `hf:` -> the repository on the hub."""

_PRETRAINING: Mapping[str, tuple[str, ...]] = {
    "facebook/esm2_": ("UniRef50", "UniRef90"),
    "facebook/esm1b_": ("UniRef50",),
    "facebook/esm1v_": ("UniRef90",),
    "biohub/esmc-": ("UniRef", "MGnify", "JGI"),
    "rostlab/prot_t5_xl_uniref50": ("BFD", "UniRef50"),
    "rostlab/prot_t5_xl_half_uniref50": ("BFD", "UniRef50"),
    "rostlab/prostt5": ("BFD", "UniRef50", "AlphaFoldDB"),
    "rostlab/prot_bert_bfd": ("BFD",),
    "rostlab/prot_bert": ("UniRef100",),
    "zjunlp/ontoprotein": ("UniRef100", "ProteinKG25"),
    "elnaggarlab/ankh": ("UniRef50",),
    "westlake-repl/saprot": ("AlphaFoldDB",),
}
"""By how the repository's name begins; the first that fits."""

_LICENCES: Mapping[str, str] = {"elnaggarlab/ankh": "CC-BY-NC-SA-4.0: not for commercial use"}


def pretraining(repository: str | None) -> tuple[str, ...] | None:
    """Return the data sets a model was trained on, as its paper says; None where nobody knows."""
    return _first(_PRETRAINING, repository)


def licence(repository: str | None) -> str | None:
    """Return a licence that forbids what people do with models; None where none is known to."""
    return _first(_LICENCES, repository)


def _first(table: Mapping[str, T], repository: str | None) -> T | None:
    name = (repository or "").lower()
    return next((said for start, said in table.items() if name.startswith(start)), None)
