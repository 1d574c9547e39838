// Slots dealt anew whenever the outer list is made.  Eight slots in a row belong to eight banks of shared memory (16-byte
// words), and each bank serves rows of cells of its own: lanes that read together stand in rows of eight banks and walk
// rows in the same order of banks (Systems: search_rows), so that they meet in few.

// What moves with a particle from slot to slot; pointers may be null but for ACC.
struct State { u32* X; float* V; i64* ACC; i64* ids; u32* C; u32* O; float* sums; };

#if !GRID
#define BANKS 8
__device__ __forceinline__ int bank_of(const int4& x) {
  return (BANK_Y * cell_of(x.y, 1) + BANK_Z * cell_of(x.z, 2)) % BANKS;
}
// Slots of a bank among those from first to last.
__device__ __forceinline__ int room_in(int first, int last, int bank) {
  return (last - first - ((bank - first) & (BANKS - 1)) + BANKS - 1) / BANKS;
}

// t: scratch for 36 words a slot.  Cells are sorted, and are again on return.
__device__ __noinline__ void deal_slots(u32* t, const State& a, int cells) {
  const int n = SH.sys.n, lane = threadIdx.x % WARP;
  u32 *rank = t, *to = t + NP, *from = t + 2 * NP, *held = t + 3 * NP, *v = t + 8 * NP, *c = t + 20 * NP, *o = t + 23 * NP;
  int4* x = reinterpret_cast<int4*>(t + 4 * NP);
  i64 *ids = reinterpret_cast<i64*>(t + 12 * NP), *acc = reinterpret_cast<i64*>(t + 14 * NP);
  float* sums = reinterpret_cast<float*>(t + 26 * NP);
  // A warp counts the particles of one species and bank, cell after cell.
  for (int g = threadIdx.x / WARP; g < KS * BANKS; g += NT / WARP) {
    const int first = SH.sys.first[g / BANKS], last = SH.sys.first[g / BANKS + 1];
    int count = 0;
    for (int k = first + lane; k - lane < last; k += WARP) {
      const int i = k < last ? ORDER(k) : 0;
      const bool mine = k < last && bank_of(POS(i)) == g % BANKS;
      const u32 mask = __ballot_sync(~0u, mine);
      if (mine) rank[i] = count + __popc(mask & ((1u << lane) - 1));
      count += __popc(mask);
    }
    if (lane == 0) held[g] = count;
  }
  __syncthreads();
  LOCAL(i) if (i < n) {
    const int s = species(i), first = SH.sys.first[s], last = SH.sys.first[s + 1];
    const u32* of = held + s * BANKS;
    int bank = bank_of(POS(i)), r = rank[i], more = r - room_in(first, last, bank);
    if (more >= 0) {  // too many for their bank: to where there is room
      for (int b = 0; b < bank; b++) more += max((int)of[b] - room_in(first, last, b), 0);
      for (bank = 0;; bank++) {
        const int gap = max(room_in(first, last, bank) - (int)of[bank], 0);
        if (more < gap) break;
        more -= gap;
      }
      r = (int)of[bank] + more;
    }
    const int j = first + ((bank - first) & (BANKS - 1)) + BANKS * r;
    to[i] = j; from[j] = i;
  }
  __syncthreads();
  LOCAL(i) if (i < n) x[i] = POS(from[i]);
  EACH(i) if (i < n) {
    const int j = from[i];
    ids[i] = LATEST(a.ids, 0, j);
    for (int d = 0; d < 3; d++) { AT(v, d, i) = __float_as_int(LATEST(a.V, d, j)); AT(acc, d, i) = LATEST(a.ACC, d, j); }
    if (a.C) for (int d = 0; d < 3; d++) { AT(c, d, i) = LATEST(a.C, d, j); AT(o, d, i) = LATEST(a.O, d, j); }
    if (a.sums) for (int d = 0; d < 10; d++) AT(sums, d, i) = LATEST(a.sums, d, j);
  }
  team_sync();
  LOCAL(i) if (i < n) POS(i) = x[i];
  EACH(i) if (i < n) {
    a.ids[i] = ids[i];
    AT(a.X, 0, i) = x[i].x; AT(a.X, 1, i) = x[i].y; AT(a.X, 2, i) = x[i].z;
    for (int d = 0; d < 3; d++) { AT(a.V, d, i) = as_float(AT(v, d, i)); AT(a.ACC, d, i) = AT(acc, d, i); }
    if (a.C) for (int d = 0; d < 3; d++) { AT(a.C, d, i) = AT(c, d, i); AT(a.O, d, i) = AT(o, d, i); }
    if (a.sums) for (int d = 0; d < 10; d++) AT(a.sums, d, i) = AT(sums, d, i);
  }
  LOCAL(k) if (k < n) ORDER(k) = (index_t)to[ORDER(k)];
  local_sync();
  order_cells(cells);
}
#endif
