"""UniRep: a multiplicative LSTM over residues (Alley et al. 2019), as TAPE evaluates it."""
