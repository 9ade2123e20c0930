"""Whether a string is a molecule: bonds within valences, rings closed."""

import re

TOKEN = re.compile(r"Cl|Br|\[nH\]|[CNOSFcnos]|[()=#]|[0-9]")
# The bonds that an atom can have; an aromatic bond counts as one, and an atom of an
# aromatic ring that gives one electron to it has one bond less to give.
VALENCES = {
    **{"C": 4, "N": 3, "O": 2, "S": 6, "F": 1, "Cl": 1, "Br": 1},
    **{"c": 3, "n": 2, "o": 2, "s": 2, "[nH]": 2},
}


def problem(string):
    """What is wrong with the string; None for a molecule."""
    tokens = TOKEN.findall(string)
    if "".join(tokens) != string:
        return "unknown symbols"
    atoms, bonds = [], []
    open_rings, branches, last, order = {}, [], None, 1
    for token in tokens:
        if token == "(":
            branches.append(last)
        elif token == ")":
            if not branches:
                return "a bracket that was not opened"
            last = branches.pop()
        elif token in "=#":
            order = {"=": 2, "#": 3}[token]
        elif token.isdigit():
            if token in open_rings:
                other = open_rings.pop(token)
                if other == last or (other, last) in [bond[:2] for bond in bonds]:
                    return "a ring of fewer than three atoms"
                bonds.append((other, last, 1))
            else:
                open_rings[token] = last
        else:
            atoms.append(token)
            if last is not None:
                bonds.append((last, len(atoms) - 1, order))
            last, order = len(atoms) - 1, 1
    if branches or open_rings or order != 1:
        return "an open bracket, ring or bond"
    used = [0] * len(atoms)
    for one, other, order in bonds:
        used[one] += order
        used[other] += order
    for atom, number in zip(atoms, used, strict=True):
        if number > VALENCES[atom]:
            return f"{number} bonds of {atom}"
    return None
