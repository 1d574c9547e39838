// Cells: which slots lie where.

__device__ __forceinline__ int cell_of(u32 x, int axis) { return (int)__umulhi(x, (u32)SH.sys.nc[axis]); }
__device__ __forceinline__ int cell_index(int s, int cx, int cy, int cz) {
  return ((s * SH.sys.nc[2] + cz) * SH.sys.nc[1] + cy) * SH.sys.nc[0] + cx;
}
__device__ __forceinline__ int cell_start(int c) { return c ? END(c - 1) : 0; }

// Exclusive sums of END in place by the team's first block.
__device__ __forceinline__ void scan_cells(int cells) {
#if GRID
  if (blockIdx.x) return;
#endif
  const int lane = threadIdx.x % WARP, w = threadIdx.x / WARP, per = (cells + NT - 1) / NT, c0 = threadIdx.x * per;
  int sum = 0;
  for (int c = c0; c < c0 + per && c < cells; c++) sum += END(c);
  int incl = sum;
  for (int d = 1; d < WARP; d <<= 1) { const int o = __shfl_up_sync(~0u, incl, d); if (lane >= d) incl += o; }
  if (lane == WARP - 1) SH.scan[w] = incl;
  __syncthreads();
  int base = incl - sum;
  for (int k = 0; k < w; k++) base += SH.scan[k];
  for (int c = c0; c < c0 + per && c < cells; c++) { const int v = END(c); END(c) = base; base += v; }
}

// Slots of each bin in ascending order, so that sums repeat to the bit.
__device__ __forceinline__ void order_bins(int bins) {
  for (int c = LRANK; c < bins; c += LSIZE) {
    const int b = cell_start(c), e = END(c);
    for (int k = b + 1; k < e; k++) {
      const index_t v = ORDER(k);
      int m = k;
      for (; m > b && ORDER(m - 1) > v; m--) ORDER(m) = ORDER(m - 1);
      ORDER(m) = v;
    }
  }
  local_sync();
}

// Slots of each bin, by a function of the slot.
template <class Bin>
__device__ __forceinline__ void sort_slots(int bins, Bin bin) {
  for (int c = LRANK; c < bins; c += LSIZE) END(c) = 0;
  local_sync();
  LOCAL(i) if (i < SH.sys.n) atomicAdd(&END(bin(i)), 1);
  local_sync();
  scan_cells(bins);
  local_sync();
  // Filling moves each start to the end of its bin.
  LOCAL(i) if (i < SH.sys.n) ORDER(atomicAdd(&END(bin(i)), 1)) = (index_t)i;
  local_sync();
  order_bins(bins);
}

// Slots of each cell and species.
__device__ __forceinline__ void sort_into_cells() {
  sort_slots(KS * SH.sys.nc[0] * SH.sys.nc[1] * SH.sys.nc[2], [](int i) {
    const int4 x = POS(i);
    return cell_index(species(i), cell_of(x.x, 0), cell_of(x.y, 1), cell_of(x.z, 2));
  });
}
