// Neighbour lists.  The outer list (cutoff + a wide skin) comes from cells and lasts for tens to hundreds of steps; the
// inner list, which forces walk, is pruned from it every ten steps or so.  Each holds, for every slot and species, quads
// of neighbours as [quad][slot], padded to the longest of the warp so that loops have no bounds test.

#if GRID
#define UNPACK(q, m) ((m) == 0 ? (q).x : (m) == 1 ? (q).y : (m) == 2 ? (q).z : (q).w)
#define AT_OFFSET(o) A.gx[o]
#else
#define UNPACK(q, m) ((m) == 0 ? (q).x & 0xffffu : (m) == 1 ? (q).x >> 16 : (m) == 2 ? (q).y & 0xffffu : (q).y >> 16)
#if NP <= 4096
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
  __device__ __forceinline__ Writer(quad* list_, u32 first, int stride_, int cap)
      : list(list_), at(first * (offset_t)sizeof(quad)), n(0), most(4 * cap), stride(stride_ * sizeof(quad)) { q = Quads(); }
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

// Outer list of every slot.  POS is current and the team synchronised, on entry and on return.
__device__ __noinline__ void build_outer(u32* XO, quad* OUTER, const State& a, bool first) {
  if (!first) EACH(i) {
    const int4 x = POS(i);
    AT(a.ACC, 0, i) += (int)((u32)x.x - AT(XO, 0, i));
    AT(a.ACC, 1, i) += (int)((u32)x.y - AT(XO, 1, i));
    AT(a.ACC, 2, i) += (int)((u32)x.z - AT(XO, 2, i));
  }
  const int cells = sort_into_cells();
#if !GRID
  if (a.V) {
    team_sync();
    deal_slots(reinterpret_cast<u32*>(OUTER), a, cells);
  }
#endif
  LOCAL(i) { const int4 x = POS(i); AT(XO, 0, i) = x.x; AT(XO, 1, i) = x.y; AT(XO, 2, i) = x.z; }
  const int nx = SH.sys.nc[0], ny = SH.sys.nc[1], nz = SH.sys.nc[2], rx = SH.sys.reach;
  const bool all_x = 2 * rx + 1 > nx;
  EACH(i) {
    const int4 xi = POS(i);
    const int t = species(i), cx = cell_of(xi.x, 0), cy = cell_of(xi.y, 1), cz = cell_of(xi.z, 2);
    // Where in its cell, in cells.
    const float fx = cell_fraction(xi.x, 0), fy = cell_fraction(xi.y, 1), fz = cell_fraction(xi.z, 2);
    Writer list(OUTER, i, NP, A.cap_out);
    for (int s = 0; s < KS; s++) {
      const real ro2 = SH.sys.pair[t * KS + s].ro2;
      u32 pad = PAD_FAR ? i : SH.sys.n;
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
            if (PAD_FAR && !near) pad = j;
            list.offer(near && j != (u32)i, j << SHIFT);
          }
        }
      }
      if (PAD_FAR && pad == (u32)i) *A.error |= 4;
      const int places = list.pad(pad << SHIFT);
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
    Writer list(INNER_LIST(INNER), INNER_AT(i), INNER_STRIDE, A.cap_in);
    const quad* from = OUTER + i;
    quad q = __ldcs(from), next = __ldcs(from + NP);  // two ahead, as forces do
    from += 2 * NP;
    for (int s = 0; s < KS; s++) {
      const Pair& c = SH.sys.pair[t * KS + s];
#if SHARES
      const real own = c.rc + share_of(xi), longest = c.rc + 2 * SH.sys.most;
#else
      const real ri2 = c.ri2;
#endif
      const int m = N_OUT(i / WARP * KS + s);
      u32 pad = PAD_FAR ? (u32)i << SHIFT : (u32)SH.sys.n << SHIFT;
#pragma unroll 2
      for (int k = 0; k < m && !list.full(); k++) {
        const quad after = __ldcs(from); from += NP;
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
          if (PAD_FAR && !near) pad = o;
          list.offer(near, q, b);
        }
        q = next; next = after;
      }
      if (PAD_FAR && m && pad == (u32)i << SHIFT) *A.error |= 4;
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
  bool gone = false;
#if SHARES
  if (a.V) {
    deal_shares(a.V, F);
    if (CLUSTER > 1) team_sync();  // before another block writes velocities
  }
  LOCAL(i) if (i < SH.sys.n) {
    const int4 x = POS(i);
    gone |= sqrtf(moved2(i, x, XO)) + share_of(x) > SH.sys.half_out;
  }
#else
  LOCAL(i) gone |= moved2(i, POS(i), XO) > SH.sys.skin_out2;
#endif
  const bool far = local_or(phase, gone);
  if (far) build_outer(XO, OUTER, a, false);
  build_inner(XI, OUTER, INNER);
  return far;
}
