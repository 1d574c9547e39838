"""Small graphs on which kernels are compared."""

import torch

from propensity.graph import Graph, join_graphs


def random_edges(n, n_edges, generator, dtype, degree_of_first):
    """Random edges sorted by destination."""
    destination = torch.randint(max(n - 1, 1), (n_edges,), generator=generator)
    destination[:degree_of_first] = 0
    destination = destination.sort().values
    source = torch.randint(n, (n_edges,), generator=generator)
    direction = torch.randn(n_edges, 3, generator=generator, dtype=torch.float64)
    length = 0.7 + 1.3 * torch.rand(n_edges, 1, generator=generator, dtype=torch.float64)
    vectors = direction / direction.norm(dim=1, keepdim=True) * length
    return torch.stack([source, destination]), vectors.to(dtype)


def random_graph(n, n_edges, seed=0, dtype=torch.float64, degree_of_first=0):
    """Random edges, and fewer thermal ones; the last particle has none, the first as many as asked."""
    generator = torch.Generator().manual_seed(seed)
    edge_index, edge_vec = random_edges(n, n_edges, generator, dtype, degree_of_first)
    types = torch.randint(2, (n,), generator=generator)
    scalars = torch.randn(n, 3, generator=generator, dtype=torch.float64).to(dtype)
    thermal_offset = torch.randn(n, 3, generator=generator, dtype=torch.float64).to(dtype)
    n_thermal = n_edges - n_edges // 4
    thermal_index, thermal_vec = random_edges(n, n_thermal, generator, dtype, degree_of_first)
    return Graph(
        types=types,
        edge_index=edge_index,
        edge_vec=edge_vec,
        thermal_edge_index=thermal_index,
        thermal_edge_vec=thermal_vec,
        scalars=scalars,
        thermal_offset=thermal_offset,
    )


GRAPHS = {
    "random": lambda dtype: random_graph(11, 40, dtype=dtype),
    "one node": lambda dtype: random_graph(1, 0, dtype=dtype),
    "one edge": lambda dtype: random_graph(2, 1, dtype=dtype),
    "no edges": lambda dtype: random_graph(3, 0, dtype=dtype),
    "huge degree": lambda dtype: random_graph(5, 70, dtype=dtype, degree_of_first=40),
    "batch": lambda dtype: join_graphs([random_graph(6, 20, k, dtype) for k in range(3)]),
}
