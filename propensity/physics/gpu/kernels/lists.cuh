// Neighbour lists.  The outer list (cutoff + a wide skin) comes from cells and lasts for tens to hundreds of steps; the
// inner list, which forces walk, is pruned from it every ten steps or so.  Each holds, for every slot and species, quads
// of neighbours as [warp][quad][lane], padded to the longest of the warp so that loops have no bounds test.

#if GRID
#define UNPACK(q, m) ((m) == 0 ? (q).x : (m) == 1 ? (q).y : (m) == 2 ? (q).z : (q).w)
#define AT_OFFSET(o) A.gx[o]
#else
#define UNPACK(q, m) ((m) == 0 ? (q).x & 0xffffu : (m) == 1 ? (q).x >> 16 : (m) == 2 ? (q).y & 0xffffu : (q).y >> 16)
#if NP <= 4096 && defined(SHARED_BEGINS)
__device__ __forceinline__ int4 at_offset(u32 o) {
  int4 v;
  asm volatile("ld.shared.v4.s32 {%0, %1, %2, %3}, [%4 + %5];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(o), "n"(SHARED_BEGINS));
  return v;
}
#define AT_OFFSET(o) at_offset(o)
#elif NP <= 4096
#define AT_OFFSET(o) (*reinterpret_cast<const int4*>(reinterpret_cast<const char*>(SH.x) + (o)))
#else
#define AT_OFFSET(o) SH.x[o]
#endif
#endif

struct Quads { // the last four neighbours appended
#if GRID
  u32 a, b, c, d;
  __device__ __forceinline__ void push(u32 j) { a = b; b = c; c = d; d = j; }
  __device__ __forceinline__ void push(const quad& from, int m) { push(UNPACK(from, m)); }
  __device__ __forceinline__ quad get() const { return make_uint4(a, b, c, d); }
#else
  u32 lo, hi;
  __device__ __forceinline__ void push(u32 j) { lo = __funnelshift_r(lo, hi, 16); hi = __byte_perm(hi, j, 0x5432); }
  // The m-th of a quad.
  __device__ __forceinline__ void push(const quad& from, int m) {
    lo = __funnelshift_r(lo, hi, 16); hi = __byte_perm(hi, m < 2 ? from.x : from.y, m % 2 ? 0x7632 : 0x5432);
  }
  __device__ __forceinline__ quad get() const { return make_uint2(lo, hi); }
#endif
};
// Appends to the list of one slot without a branch.
struct Writer {
  quad* list; Quads q; offset_t at; int n, most, stride;  // bytes to the next quad; entries of this segment so far, and how many fit
  __device__ __forceinline__ Writer(quad* list_, offset_t first, int stride_, int cap)
      : list(list_), at(first * sizeof(quad)), n(0), most(4 * cap), stride(stride_ * sizeof(quad)) { q = Quads(); }
  __device__ __forceinline__ void put() { *reinterpret_cast<quad*>(reinterpret_cast<char*>(list) + at) = q.get(); at += stride; }
  __device__ __forceinline__ void offer(bool keep, u32 o) {
    if (keep) { q.push(o); n++; }
    if (keep && (n & 3) == 0 && n <= most) put();
  }
  // The m-th of a quad.  Whoever offers quads asks before each whether the list is full; its margin takes one more.
  __device__ __forceinline__ void offer(bool keep, const quad& from, int m) {
    if (keep) { q.push(from, m); n++; }
    if (keep && (n & 3) == 0) put();
  }
  __device__ __forceinline__ bool full() const { return n > most; }
  // Closes the segment of a species; returns its places, the most of the warp, and after an overflow those that were kept.
  __device__ __forceinline__ int pad(u32 o) {
    const int places = min(warp_max(n), most), m = (places + 3) >> 2;
    if (n > most) *A.error |= 2;
    while (n < 4 * m) offer(true, o);
    most -= 4 * m; n = 0;
    return places;
  }
};

__device__ __forceinline__ float cell_fraction(u32 x, int axis) { return (float)(x * (u32)SH.sys.nc[axis]) * 2.3283064e-10f; }
// Cells between a point (a fraction of its cell) and the nearest side of the row this many steps away.
__device__ __forceinline__ float row_gap(int steps, float at) { return fmaxf(fmaxf(steps - at, at - steps - 1.f), 0.f); }

#if PAD_FAR
// What fills up the lists of a slot: a particle that stays out of reach as long as the outer list lasts, looked for half a box away.
#define PAD_AT(i) (LIST_AT(i, A.cap_out) + (A.cap_out + 3) * WARP)
__device__ __forceinline__ u32 far_from(int i) {
  const int4 xi = POS(i);
  real reach2 = 0;
#pragma unroll
  for (int s = 0; s < KS * KS; s++) reach2 = max(reach2, SH.sys.pair[s].ro2);
  reach2 = sqrt(reach2) + 2 * SH.sys.half_out; reach2 *= reach2;  // both may go as far as the skin (outer_ends)
  int away[3];
  for (int d = 0; d < 3; d++) away[d] = cell_of((d == 0 ? xi.x : d == 1 ? xi.y : xi.z) + 0x80000000u, d);
  const int from = cell_start(cell_index(0, away[0], away[1], away[2]));
  for (int k = 0; k < NP; k++) {
    const int j = ORDER((from + k) % NP);
    real x, y, z;
    if (distance2(xi, POS(j), x, y, z) >= reach2) return j;
  }
  *A.error |= 4;
  return i;
}
#endif

// Outer list of every slot.  POS is current and the team synchronised, on entry and on return.
__device__ __noinline__ void build_outer(u32* XO, quad* OUTER, const State& a, bool first) {
  if (!first) EACH(i) {
    const int4 x = POS(i);
    AT(a.ACC, 0, i) += (int)((u32)x.x - AT(XO, 0, i));
    AT(a.ACC, 1, i) += (int)((u32)x.y - AT(XO, 1, i));
    AT(a.ACC, 2, i) += (int)((u32)x.z - AT(XO, 2, i));
  }
#if !GRID
  if (a.V) {
    team_sync();
    deal_slots(reinterpret_cast<u32*>(OUTER), a, first ? nullptr : FORCES);
  }
#endif
  sort_into_cells();
  LOCAL(i) { const int4 x = POS(i); AT(XO, 0, i) = x.x; AT(XO, 1, i) = x.y; AT(XO, 2, i) = x.z; }
  const int nx = SH.sys.nc[0], ny = SH.sys.nc[1], nz = SH.sys.nc[2], rx = SH.sys.reach;
  const bool all_x = 2 * rx + 1 > nx;
  EACH(i) {
    const int4 xi = POS(i);
    const int t = species(i), cx = cell_of(xi.x, 0), cy = cell_of(xi.y, 1), cz = cell_of(xi.z, 2);
    // Where in its cell, in cells.
    const float fx = cell_fraction(xi.x, 0), fy = cell_fraction(xi.y, 1), fz = cell_fraction(xi.z, 2);
    Writer list(OUTER, LIST_AT(i, A.cap_out), WARP, A.cap_out);
#if PAD_FAR
    const u32 pad = far_from(i) << SHIFT;
    OUTER[PAD_AT(i)].x = pad;
#else
    const u32 pad = (u32)SH.sys.n << SHIFT;
#endif
    for (int s = 0; s < KS; s++) {
      const real ro2 = SH.sys.pair[t * KS + s].ro2;
      const int rows = i < SH.sys.n ? SH.sys.rows : 0;
      for (int r = 0; r < rows; r++) {
        int lo = all_x ? 0 : cx - rx, hi = all_x ? nx - 1 : cx + rx;
        if (SH.sys.chords) {
          // The chord of the row within reach, a little longer than rounding needs.
          const float gy = row_gap(SH.sys.row[r][0], fy) * SH.sys.edge[1], gz = row_gap(SH.sys.row[r][1], fz) * SH.sys.edge[2];
          const float half2 = fmaf(-gy, gy, fmaf(-gz, gz, (float)ro2 * 1.0001f));
          if (half2 <= 0.f) continue;
          const float half = sqrtf(half2) / SH.sys.edge[0] + 1e-4f;
          lo = max(lo, cx + (int)floorf(fx - half));
          hi = min(hi, cx + (int)floorf(fx + half));
        }
        int y = cy + SH.sys.row[r][0]; y += y < 0 ? ny : 0; y -= y >= ny ? ny : 0;
        int z = cz + SH.sys.row[r][1]; z += z < 0 ? nz : 0; z -= z >= nz ? nz : 0;
        // The cells of a row along x that are near, in one or two pieces.
        const int row = cell_index(s, 0, y, z);
        for (int piece = 0; piece < (lo < 0 || hi >= nx ? 2 : 1); piece++) {
          const int a = piece ? (lo < 0 ? lo + nx : 0) : (lo < 0 ? 0 : lo);
          const int b = piece ? (lo < 0 ? nx - 1 : hi - nx) : (hi >= nx ? nx - 1 : hi);
          const int k1 = END(row + b);
          for (int k = cell_start(row + a); k < k1; k++) {
            const u32 j = ORDER(k);
            real x, yy, zz;
            const bool near = distance2(xi, POS(j), x, yy, zz) < ro2;
            list.offer(near && j != (u32)i, j << SHIFT);
          }
        }
      }
      const int places = list.pad(pad);
      if (i % WARP == 0) N_OUT(i / WARP * KS + s) = (u16)((places + 3) >> 2);
    }
  }
  local_sync();
}

// Inner list from the outer one.
__device__ __forceinline__ void build_inner(u32* XI, const quad* OUTER, quad* INNER) {
  EACH(i) {
    const int4 xi = POS(i);
    AT(XI, 0, i) = xi.x; AT(XI, 1, i) = xi.y; AT(XI, 2, i) = xi.z;
    const int t = species(i);
#if PAD_FAR
    const u32 pad = OUTER[PAD_AT(i)].x;
#else
    const u32 pad = (u32)SH.sys.n << SHIFT;
#endif
    Writer list(INNER_LIST(INNER), INNER_AT(i), INNER_STRIDE, A.cap_in);
    offset_t from = LIST_AT(i, A.cap_out) * sizeof(quad);
    quad q = LIST_LOAD(OUTER, from);  // one ahead, as forces do
    for (int s = 0; s < KS; s++) {
      const Pair& c = SH.sys.pair[t * KS + s];
#if SHARES
      const real own = c.rc + share_of(xi), longest = c.rc + 2 * SH.sys.most;
#else
      const real ri2 = c.ri2;
#endif
      const int m = N_OUT(i / WARP * KS + s);
#pragma unroll 1
      for (const offset_t end = from + m * (offset_t)(WARP * sizeof(quad)); from != end && !list.full();) {
        from += WARP * sizeof(quad);
        const quad after = LIST_LOAD(OUTER, from);
#pragma unroll
        for (int b = 0; b < 4; b++) {
          const u32 o = UNPACK(q, b);
          const int4 xj = AT_OFFSET(o);
          real x, y, z;
          const real r2 = distance2(xi, xj, x, y, z);
#if SHARES
          real both = own + share_of(xj);
          if (!PAD_FAR) both = both < longest ? both : longest;  // the share of the dummy has no bound
          const bool near = r2 < both * both;
#else
          const bool near = r2 < ri2;
#endif
          list.offer(near, q, b);
        }
        q = after;
      }
      if (s == KS - 1) AT(FORCES, 3, i) = list.n;
      const int filled = list.pad(pad);
      if (i % WARP == 0) N_IN(i / WARP * KS + s) = (u16)filled;
    }
  }
  local_sync();
}

// Largest squared displacement since the positions XB.
__device__ __forceinline__ float moved2(int i, const int4& x, const u32* XB) {
  const float dx = diff(x.x, AT(XB, 0, i), 0), dy = diff(x.y, AT(XB, 1, i), 1), dz = diff(x.z, AT(XB, 2, i), 2);
  return fmaf(dx, dx, fmaf(dy, dy, dz * dz));
}

// Where a slot goes next: kept for the other blocks (CLUSTER > 1) or in X.  m: how far the thread's slots are beyond their shares.
#if CLUSTER > 1
#define NEXT(k) (A.XB + ((size_t)GROUP * 2 + ((k) & 1)) * NP)
typedef int4 next_t;
#else
#define NEXT(k) X
typedef u32 next_t;
#endif
__device__ __forceinline__ void move(next_t* to, int i, int x, int y, int z, const u32* XI, float& m) {
#if CLUSTER > 1
  const int4 at = make_int4(x, y, z, POS(i).w);
  const float share = share_of(at);
  to[i] = at;
  m = fmaxf(m, moved2(i, at, XI) - share * share);
#else
  AT(to, 0, i) = x; AT(to, 1, i) = y; AT(to, 2, i) = z;
#endif
}

#if SHARES
// Shares of the inner skin: where a particle goes with its velocity and force while the fastest crosses an equal share.
__device__ __noinline__ void deal_shares(const float* V, const real* F) {
  int fastest = 0;
  LOCAL(i) {
    const float vx = LATEST(V, 0, i), vy = LATEST(V, 1, i), vz = LATEST(V, 2, i);
    fastest = max(fastest, __float_as_int(fmaf(vx, vx, fmaf(vy, vy, vz * vz))));
  }
  fastest = warp_max(fastest);
  if (threadIdx.x % WARP == 0) SH.scan[threadIdx.x / WARP] = fastest;
  __syncthreads();
  for (int k = 0; k < NT / WARP; k++) fastest = max(fastest, SH.scan[k]);
  const float time = SH.sys.share * SH.sys.hp / sqrtf(fmaxf(as_float(fastest), 1e-12f));
  LOCAL(i) if (i < SH.sys.n) {
    const float f = 0.5f * time * time * SH.sys.inv_mass[species(i)];
    const float vx = LATEST(V, 0, i) * time, vy = LATEST(V, 1, i) * time, vz = LATEST(V, 2, i) * time;
    const float fx = f * (float)LATEST(F, 0, i), fy = f * (float)LATEST(F, 1, i), fz = f * (float)LATEST(F, 2, i);
    const float x = vx + fx, y = vy + fy, z = vz + fz;
    const float a = fmaf(.5f, fx, vx), b = fmaf(.5f, fy, vy), c = fmaf(.5f, fz, vz);  // twice the way at half the time
    const float way = sqrtf(fmaxf(fmaf(x, x, fmaf(y, y, z * z)), .25f * fmaf(a, a, fmaf(b, b, c * c)))) / SH.sys.hp;
    POS(i).w = __float_as_int(fminf(SH.sys.margin + way, SH.sys.most) * SHARE);
  }
}
#endif

#if !GRID
// Whether a pair is near, shares included, that the outer list lacks.  Each particle's way since that list, and its share, add
// up: two that both have less than half the skin can't have met.  Those with more ("far") are compared with all, or, if
// theirs leaves enough to the other one, with those who have a good part of it ("wide").  Few do: they needn't end the list.
#define FAR_ONES (NP < 512 ? NP / 4 : 128)
__device__ __noinline__ bool outer_ends(Phase& phase, const u32* XO) {
  const int n = SH.sys.n, lane = threadIdx.x % WARP;
  const float half = SH.sys.half_out, part = 0.75f * half;
  if (threadIdx.x == 0) SH.wide = SH.far = 0;
  __syncthreads();
  bool ends = false;
  LOCAL(i) if (i < n) {
    const int4 x = POS(i);
    const float way = sqrtf(moved2(i, x, XO)) + share_of(x);
    // Slots in cells aren't needed until the next outer list: wide ones from the beginning, far ones from the end.
    if (way > part) { const int k = atomicAdd(&SH.wide, 1); if (k < NP - FAR_ONES) ORDER(k) = (index_t)i; }
    if (way > half) { const int k = atomicAdd(&SH.far, 1); if (k < FAR_ONES) ORDER(NP - 1 - k) = (index_t)i; }
    ends |= way > 2 * half;
  }
  if (local_or(phase, ends)) return true;
  const int wide = SH.wide, far = SH.far;
  if (!far) return false;
  if (far > FAR_ONES || wide > NP - FAR_ONES) return true;
  for (int f = threadIdx.x / WARP; f < far; f += NT / WARP) {
    const int i = ORDER(NP - 1 - f), t = species(i);
    if (i % CLUSTER != MEMBER) continue;  // blocks of a cluster share them
    const int4 xi = POS(i), oi = make_int4((int)AT(XO, 0, i), (int)AT(XO, 1, i), (int)AT(XO, 2, i), 0);
    const bool all = sqrtf(moved2(i, xi, XO)) + share_of(xi) > 2 * half - part;
    real widest = 0;
    for (int s = 0; s < KS; s++) widest = max(widest, SH.sys.pair[t * KS + s].rc);
    widest += 2 * SH.sys.most;
    for (int k = lane; k < (all ? n : wide); k += WARP) {
      const int j = all ? k : ORDER(k);
      const int4 xj = POS(j);
      real x, y, z;
      const real r2 = distance2(xi, xj, x, y, z);
      if (r2 >= widest * widest || j == i) continue;
      const Pair& c = SH.sys.pair[t * KS + species(j)];
      const real both = c.rc + share_of(xi) + share_of(xj);
      const int4 oj = make_int4((int)AT(XO, 0, j), (int)AT(XO, 1, j), (int)AT(XO, 2, j), 0);
      ends |= r2 < both * both && distance2(oi, oj, x, y, z) > c.ro2 * (real)0.99999;
    }
  }
#if CLUSTER > 1
  return team_or(phase, ends);
#else
  return local_or(phase, ends);
#endif
}
#endif

// Puts the positions just integrated where forces read them, and renews lists as soon as any particle left its skin.
// Returns whether the outer list was renewed.
__device__ __forceinline__ bool refresh(Phase& phase, const next_t* X, float m, u32* XI, u32* XO, quad* INNER, quad* OUTER,
                                        const State& a, const real* F) {
#if CLUSTER > 1
  // One barrier: the next step writes where nobody reads any more.
  const bool near = team_or(phase, m > 0.f);
#pragma unroll 16
  LOCAL(i) POS(i) = __ldcg(X + i);
  __syncthreads();
#else
  team_sync();
  bool left = false;
#pragma unroll 4
  LOCAL(i) {
#if SHARES
    const int4 x = make_int4((int)AT(X, 0, i), (int)AT(X, 1, i), (int)AT(X, 2, i), POS(i).w);
    const float share = share_of(x);
    left |= moved2(i, x, XI) > share * share;
#else
    const int4 x = make_int4((int)AT(X, 0, i), (int)AT(X, 1, i), (int)AT(X, 2, i), fourth(i));
    left |= moved2(i, x, XI) > SH.sys.skin_in2;
#endif
    POS(i) = x;
  }
  const bool near = local_or(phase, left);
#endif
  if (!near) return false;
#if SHARES
  if (a.V) {
    deal_shares(a.V, F);
    if (CLUSTER > 1) team_sync();  // before another block writes velocities
  }
  const bool far = outer_ends(phase, XO);
#else
  bool gone = false;
  LOCAL(i) gone |= moved2(i, POS(i), XO) > SH.sys.skin_out2;
  const bool far = local_or(phase, gone);
#endif
  if (far) build_outer(XO, OUTER, a, false);
  build_inner(XI, OUTER, INNER);
  return far;
}
