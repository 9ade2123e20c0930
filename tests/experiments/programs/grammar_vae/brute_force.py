"""All derivations of a grammar, found without the code that is tested."""

from experiments.programs.grammar_vae import grammar as grammars

SUMS = grammars.read(
    "sums",
    """
    sum -> sum '+' part | part
    part -> 'a' | '(' sum ')' | 'ab'
    """,
)
MATCHED = grammars.read("matched", "s -> 'a' s 'b' | 'a' 'b' | t\nt -> 'c' t | 'c'")
FINITE = grammars.read(
    "finite",
    """
    top -> left right | left
    left -> 'l' | 'm' right
    right -> 'r' | 'q' | 'l'
    """,
)
AMBIGUOUS = grammars.read("ambiguous", "e -> e '+' e | 'a'")


def derivations(grammar, most):
    """Every derivation of at most `most` productions, with its string."""
    found = []

    def grow(done, before, after):
        """before: the text so far; after: symbols to come, the first one first."""
        while after and after[0][0] in "'\"":
            before, after = before + after[0][1:-1], after[1:]
        if not after:
            found.append((done, before))
        elif len(done) < most:
            for index, (left, right) in enumerate(grammar.productions):
                if left == after[0]:
                    grow((*done, index), before, (*right, *after[1:]))

    grow((), "", (grammar.start,))
    return found
