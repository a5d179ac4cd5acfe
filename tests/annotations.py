"""How the tests check the package's annotations: an int may stand where a float is declared, as in PEP 484."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
