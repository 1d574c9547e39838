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

// A bank's slots follow each other by their number of neighbours of the last species, so that lists of a warp are of like
// length: each number has four bins, by where the particle is, for short bins are quick to put in order.
#define LEVELS (NCELL / BANKS)
__device__ __forceinline__ int first_of(int s, int bank) { return cell_start((s * BANKS + bank) * LEVELS); }
__device__ __forceinline__ int held_by(int s, int bank) { return END((s * BANKS + bank + 1) * LEVELS - 1) - first_of(s, bank); }

// t: scratch for 36 words a slot; F: with the numbers of neighbours, null before there are any.
__device__ __noinline__ void deal_slots(u32* t, const State& a, const real* F) {
  const int n = SH.sys.n;
  u32 *from = t, *v = t + 8 * NP, *c = t + 20 * NP, *o = t + 23 * NP;
  int4* x = reinterpret_cast<int4*>(t + 4 * NP);
  i64 *ids = reinterpret_cast<i64*>(t + 12 * NP), *acc = reinterpret_cast<i64*>(t + 14 * NP);
  float* sums = reinterpret_cast<float*>(t + 26 * NP);
  sort_slots(KS * BANKS * LEVELS, [F](int i) {
    const int4 x = POS(i);
    const int level = F ? (int)LATEST(F, 3, i) : cell_of(x.z, 2);
    return (species(i) * BANKS + bank_of(x)) * LEVELS + (4 * level + cell_of(x.x, 0) % 4) % LEVELS;
  });
  LOCAL(k) if (k < n) {
    const int i = ORDER(k), s = species(i), first = SH.sys.first[s], last = SH.sys.first[s + 1];
    int bank = bank_of(POS(i)), r = k - first_of(s, bank), more = r - room_in(first, last, bank);
    if (more >= 0) {  // too many for their bank: to where there is room
      for (int b = 0; b < bank; b++) more += max(held_by(s, b) - room_in(first, last, b), 0);
      for (bank = 0;; bank++) {
        const int gap = max(room_in(first, last, bank) - held_by(s, bank), 0);
        if (more < gap) break;
        more -= gap;
      }
      r = held_by(s, bank) + more;
    }
    from[first + ((bank - first) & (BANKS - 1)) + BANKS * r] = i;
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
  local_sync();
}
#endif
