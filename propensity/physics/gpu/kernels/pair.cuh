// Forces: each slot walks its inner list, species by species with the constants of the pair in registers.
#if REAL64 || defined(HOST)
__device__ __forceinline__ real reciprocal(real x) { return (real)1 / x; }
__device__ __forceinline__ real rsquare(real x) { return (real)1 / sqrt(x); }
#else
__device__ __forceinline__ float reciprocal(float x) { float y; asm("rcp.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x)); return y; }
__device__ __forceinline__ float rsquare(float x) { float y; asm("rsqrt.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x)); return y; }
#endif

#if DIM == 3
#define DEPTH " @p fma.rn.f32 %2, %4, %7, %2;"
#else
#define DEPTH
#endif
// Without a branch, for which compilers take conditions otherwise, and without a zero to select.
__device__ __forceinline__ void add_within(bool within, real g, real dx, real dy, real dz, real& fx, real& fy, real& fz) {
#if REAL64 || defined(HOST)
  if (!within) return;
  fx = fma(g, dx, fx); fy = fma(g, dy, fy);
  if (DIM == 3) fz = fma(g, dz, fz);
#else
  asm("{.reg .pred p; setp.ne.s32 p, %3, 0; @p fma.rn.f32 %0, %4, %5, %0; @p fma.rn.f32 %1, %4, %6, %1;" DEPTH "}"
      : "+f"(fx), "+f"(fy), "+f"(fz) : "r"((int)within), "f"(g), "f"(dx), "f"(dy), "f"(dz));
#endif
}

// Adds the force of one neighbour, and with E its energy and virial.
template <bool E>
__device__ __forceinline__ void add_pair(const int4& xi, const int4& xj, const Pair& c, real& fx, real& fy, real& fz, real& e, real& w) {
  real dx, dy, dz;
  const real r2 = distance2(xi, xj, dx, dy, dz);
#if FORM <= 1
  const real u = c.s2 * reciprocal(r2), t = u * u, u3 = t * u;
#if FORM == 1
  const real g = fma(c.fs, rsquare(r2), (t * t) * fma(c.c2, u3, -c.c1));
#else
  const real g = (t * t) * fma(c.c2, u3, -c.c1);
#endif
  const bool within = r2 < c.rc2;
  if (E) {
    const real edge = FORM == 1 ? fma(-c.fe, sqrt(r2), -c.esh) : -c.esh;
    e += within ? fma(c.e4, fma(u3, u3, -u3), edge) : (real)0;
    w = within ? fma(g, r2, w) : w;
  }
#else
  // Rows of a cubic in the fraction of the interval of r^2, F/r and energy apart.
  const real q = fmax((r2 - c.s2) * c.c1, (real)0);
  const int k = (int)fmin(q, c.e4);
  const real f = q - k;
  const float4 p = A.table[(int)c.fs + k];
  const real g = c.c2 * fma(fma(fma((real)p.w, f, (real)p.z), f, (real)p.y), f, (real)p.x);
  const bool within = r2 < c.rc2;
  if (E) {
    const float4 v = A.etable[(int)c.fs + k];
    e += within ? fma(fma(fma((real)v.w, f, (real)v.z), f, (real)v.y), f, (real)v.x) : (real)0;
    w = within ? fma(g, r2, w) : w;
  }
#endif
  add_within(within, g, dx, dy, dz, fx, fy, fz);
}

// Bytes from a quad of an inner list to the next, and quads that are on their way: one where it takes the place of the one just
// unpacked and other warps hide what it takes.
#define STRIDE ((offset_t)(INNER_STRIDE * sizeof(quad)))
#if GRID || CLUSTER > 1
#define AHEAD 2
#else
#define AHEAD 1
#endif
__device__ __forceinline__ void read_on(quad (&q)[AHEAD], const quad* INNER, offset_t& from) {
  from += STRIDE;
#pragma unroll
  for (int d = 1; d < AHEAD; d++) q[d - 1] = q[d];
  q[AHEAD - 1] = INNER_LOAD(INNER, from + (AHEAD - 1) * STRIDE);
}
// Force on slot i at xi; with E also the energy and virial of its pairs (each counted at both ends).
template <bool E>
__device__ __forceinline__ void force_on(int i, const int4& xi, const quad* INNER, real& fx, real& fy, real& fz, real& e, real& w) {
  fx = fy = fz = e = w = 0;
  const int t = species(i);
  // The last reads go past the end of the list into its margin.
  offset_t from = INNER_AT(i) * (offset_t)sizeof(quad);
  quad q[AHEAD];
#pragma unroll
  for (int d = 0; d < AHEAD; d++) q[d] = INNER_LOAD(INNER, from + d * STRIDE);
#pragma unroll
  for (int s = 0; s < KS; s++) {
    const Pair c = SH.sys.pair[t * KS + s];
    const int places = N_IN(i / WARP * KS + s), n = places >> 2, rest = places & 3;
#pragma unroll 2
    for (const offset_t end = from + n * STRIDE; from != end;) {
      const index_t a0 = UNPACK(q[0], 0), a1 = UNPACK(q[0], 1), a2 = UNPACK(q[0], 2), a3 = UNPACK(q[0], 3);
      read_on(q, INNER, from);
      add_pair<E>(xi, AT_OFFSET(a0), c, fx, fy, fz, e, w);
      add_pair<E>(xi, AT_OFFSET(a1), c, fx, fy, fz, e, w);
      add_pair<E>(xi, AT_OFFSET(a2), c, fx, fy, fz, e, w);
      add_pair<E>(xi, AT_OFFSET(a3), c, fx, fy, fz, e, w);
    }
    if (rest) {
      const index_t a0 = UNPACK(q[0], 0), a1 = UNPACK(q[0], 1), a2 = UNPACK(q[0], 2);
      read_on(q, INNER, from);
      add_pair<E>(xi, AT_OFFSET(a0), c, fx, fy, fz, e, w);
      if (rest > 1) add_pair<E>(xi, AT_OFFSET(a1), c, fx, fy, fz, e, w);
      if (rest > 2) add_pair<E>(xi, AT_OFFSET(a2), c, fx, fy, fz, e, w);
    }
  }
}
