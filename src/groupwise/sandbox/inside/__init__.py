"""What runs inside: a small clean Python that holds nothing worth stealing.

These modules import each other and the standard library only, relatively, and never `groupwise`: the
fork server loads them without the rest of the package, and so without torch.
"""
