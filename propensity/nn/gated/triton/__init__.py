"""The gated network's layers in a training on a GPU: kernels that sum over neighbours and update particles.

Particles of a program are rows of matrices, each component of a vector a matrix of its own.  Products of
matrices have operands of the type of ``met`` (bfloat16 in a training) and are summed in float32.  Sizes that
end in P are rounded up to what matrix units take.

Symbols
-------
===========  ==================================================================  =====================
letter       meaning                                                             shape
===========  ==================================================================  =====================
n, N, K      particle or their number, slots of a particle
R            the same, rounded up to a multiple of 32
k, j         slot, and the neighbour there; ``counts`` says how many are real    (N,)
B            radial functions
f            radial functions of an edge (``radial``)                            (N, B, R)
y            harmonics l ≤ 2 (``angular``)                                       (N, 9, R)
S, V, Q      scalars, vectors and quadrupoles of a particle                      (n, S), (n, 3, V), (n, 5, Q)
SS, SV       scalars and vectors that it sends (``sent``)                        (n, SS + 3·SV)
met          sums for scalars, for vectors, for quadrupoles, one after the       (n, BOTH), (n, 3, WIDE),
             other: radial functions × (scalars; vectors by each coupling)       (n, 5, BOTH)
p            sums over neighbours of f·y and a sent scalar                       (BP, SSP)
s, t, v      of f and a vector's component, of f·y₁ and one, of the matrix of    (BP, SVP)
             y₂ and a vector
P, F         products of each kind, and factors: three for each product          (n, 3, F), (n, 5, F)
u, t         factors of a product of three: vectors and a quadrupole             (n, PP)
IN           invariants: scalars, new ones, lengths of vectors and quadrupoles,  (n, IN)
             products of vectors, of quadrupoles and of three
H, h         hidden units                                                        (n, H)
HALF         type of operands
d…           gradient of …
===========  ==================================================================  =====================
"""
