"""Two grammars: arithmetic expressions, and molecules in the notation SMILES.

Kusner, Paige and Hernández-Lobato (2017), section 4, have such grammars; these are
written anew.  Weininger (1988), SMILES, is the notation.
"""

import functools

from experiments.programs.grammar_vae.grammar import Grammar, read

ARITHMETIC = """
expression -> expression '+' term | expression '-' term | term
term -> term '*' factor | term '/' factor | factor
factor -> 'x' | number | '(' expression ')' | function '(' expression ')'
function -> 'sin' | 'cos' | 'exp' | 'log'
number -> '1' | '2' | '3' | '4' | '5'
"""

# A group hangs on what is before it by one bond, and has hydrogen where nothing else
# is said.  So no atom has more bonds than its valence, every ring is closed, and a
# ring's digit is free again before the next ring: a side group of a ring has no ring.
SMILES = """
group -> halogen | 'O' | 'O' group | 'S' | 'S' group | 'S(=O)(=O)' group
group -> 'N' | 'N' group | 'N(' group ')' group
group -> 'C' | 'C' group | 'C(' group ')' group | 'C(' group ')(' group ')' group
group -> 'C=' double | 'C(=O)' group | 'C#N' | 'C#C' | 'C#C' group
group -> ring | ring group
halogen -> 'F' | 'Cl' | 'Br'
double -> 'O' | 'S' | 'N' | 'N' group | 'C' | 'C' group | 'C(' group ')' group
ring -> 'c1' aromatic aromatic aromatic aromatic 'c1'
ring -> 'c1' aromatic aromatic hetero 'c1'
ring -> 'C1' member member member member 'C1' | 'C1' member member member 'C1'
aromatic -> 'c' | 'n' | 'c(' side ')'
hetero -> 'o' | 's' | '[nH]'
member -> 'C' | 'O' | 'N' | 'C(' side ')'
side -> halogen | 'O' | 'O' side | 'N' | 'N' side | 'C' | 'C' side | 'C(' side ')' side
side -> 'C(=O)' side | 'C#N'
"""

TEXTS = {"arithmetic": ARITHMETIC, "smiles": SMILES}


@functools.cache
def named(name: str) -> Grammar:
    """The grammar of this name.  Raises ValueError for a name that there is not."""
    if name not in TEXTS:
        raise ValueError(f"grammar: given {name!r}, wanted one of {sorted(TEXTS)}")
    return read(name, TEXTS[name])
