// What every kernel shares: layouts, fixed-point distances, and the "team" of threads that integrates one system.
//
// A team is one thread block (GRID 0: positions in shared memory, many systems at once), a cluster of blocks that share
// the slots of one system while each holds all positions (GRID 0, CLUSTER > 1: few systems), or the whole grid (GRID 1:
// positions in global memory, one system of any size).  The host build (HOST) has blocks of one thread, the same source.
//
// Set by the compiler's command line (propensity/physics/gpu/device.py):
//   NP     slots for particles, a multiple of 32 above the number of particles (equal to it only with PAD_FAR)
//   KS     species                       DIM     2 or 3              CUBIC   1: equal edges, pair units = fixed point
//   FORM   0: 12-6, 1: 12-6 with a force shift, 2: table in r^2     REAL64  1: pair arithmetic in double
//   NT     threads of a block            MINB    blocks of a multiprocessor        NCELL   most cells of a system
//   CLUSTER  blocks of a team                           INNER_CAP  quads of inner lists in shared memory; 0: in global memory
//   PAD_FAR  1: exactly 4096 particles, no slot left for the dummy that pads lists, so a far particle does
#ifdef HOST
#define WARP 1
#else
#define WARP 32
#endif
#if CLUSTER > 1 && !defined(HOST)
#define CLUSTERED __cluster_dims__(CLUSTER, 1, 1)
#else
#define CLUSTERED
#endif
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;
typedef long long i64;
#if REAL64
typedef double real;
#else
typedef float real;
#endif
#define FAR_AWAY 0x7149f2ca /* bits of 1e30f: the fourth word of slots without a particle is added to their r^2 */

// Blocks give every particle its own share of the inner skin, by where its velocity and force take it.  The fourth word of its position is that share, in pair units times SHARE: far too little to change r^2.
#define SHARES (!GRID)
#define SHARE (REAL64 ? (CUBIC ? 1e-7f : 1e-16f) : (CUBIC ? 1.f : 1e-9f))

// Four neighbours.  16-bit byte offsets (up to 4096 slots) or indices in shared memory, 32-bit indices in global memory.
#if GRID
typedef uint4 quad;
typedef u32 index_t;
typedef u64 offset_t;
#define SHIFT 0
#else
typedef uint2 quad;
typedef u16 index_t;
typedef u32 offset_t;
#define SHIFT (NP <= 4096 ? 4 : 0)
#endif

// Constants of a pair of species, in pair units (CUBIC: fixed point; else sigma).
struct Pair {
  real rc2, ri2, ro2, rc;  // squared cutoff, radii of the inner and of the outer list; cutoff
  real s2, c1, c2, fs; // 12-6: sigma^2, 24 eps/sigma^2, 48 eps/sigma^2, minus force at the cutoff (all with the unit's factor)
                       // table: first r^2, 1/spacing, factor of F/r, number of the first row
  real e4, esh, fe;    // 12-6: 4 eps, energy at the cutoff, its slope; table: last row of the pair, -, -
};
struct System {
  int n, first[KS + 1], nc[3], reach;         // particles; slots where species begin; cells; cells on each side along x
  int rows, row[25][2];                       // rows of cells to search, as steps along y and z, in the order of lists
  real h[3];                                  // sigma per unit of each axis
  float hinv[3], hp, skin_in2, skin_out2;     // its inverse; sigma per pair unit; squared
  int chords; float edge[3];                  // whether rows of cells are cut to what is in reach; edges of a cell, pair units
  float share, margin, most, half_out;        // of the inner skin: equal shares, least and largest; half the outer skin; pair units
  float inv_mass[KS];                         //   displacements that end the inner and the outer list
  float wall, stiff;                          // radius (pair units) and constant (per pair unit) of the restraint
  Pair pair[KS * KS];
};
// One launch.  Arrays [system][3][NP] unless said; scratch is per team.
struct Args {
  u32* X; float* V; i64* ACC;             // positions as fixed point, velocities, displacement since the leg began
  u32* XI; u32* XO; quad* INNER; quad* OUTER; real* F;  // scratch: positions of the last builds, lists, forces
  const System* systems; const int2* items; int* queue; int* done;
  double* stats; float* frames; const int* frame_step; const u64* seeds; const float4* table; const float4* etable;
  u32* centre; u32* origin; float* sums; real* fout;
  int* error; unsigned* bar; int* flag; double* gsum; int4* gx; u32* gorder; int* gend; u16* gin; u16* gout;
  int4* XB;                               // CLUSTER > 1: positions that its blocks exchange, [2][NP], every other step the other
  i64* ids;                               // particle of each slot, [system][NP]
  int nitems, steps, step0, chunk, sample_every, nrec, nframes, cap_in, cap_out;
  int thermostat, skip, every, centred, maxit;  // 0 none, 1 velocity rescaling, 2 Langevin
  float dt, temp0, temp1, ou, tau, ftol;
};
__constant__ Args A;

#if !GRID
#define SIZE (CLUSTER * NT)
#endif
struct Shared {
#if !GRID
  int4 x[NP];
  int end[KS * NCELL + 1];
  u16 nin[NP / WARP * KS], nout[NP / WARP * KS];
  index_t order[NP];
#if INNER_CAP
  quad inner[(INNER_CAP + 4) * ((NP + SIZE - 1) / SIZE) * NT];
#endif
#endif
  System sys;
  double red[6][32];
  int scan[32];
  int wide, far;  // particles that went a good part of the outer skin, or more than half of it
  int item;
  float scale;
};
#ifdef HOST
static PER_BLOCK Shared host_shared;
#define SH host_shared
#else
extern __shared__ int4 raw_shared[];
#define SH (*reinterpret_cast<Shared*>(raw_shared))
#endif
// Where the compiler lays shared memory of blocks that are in no cluster: as a constant it costs no addition a load.
#if __CUDA_ARCH__ == 900 && !GRID && CLUSTER == 1
#define SHARED_BEGINS 1024
#define CHECK_SHARED if (__cvta_generic_to_shared(raw_shared) != SHARED_BEGINS) { *A.error |= 8; return; }
#else
#define CHECK_SHARED
#endif

#if GRID
#define RANK ((int)(blockIdx.x * NT + threadIdx.x))
#define SIZE ((int)(gridDim.x * NT))
#define POS(j) A.gx[j]
#define ORDER(k) A.gorder[k]
#define END(c) A.gend[c]
#define N_IN(k) A.gin[k]
#define N_OUT(k) A.gout[k]
#define TEAM 0
#define LRANK RANK
#define LSIZE SIZE
#define OWN(i) true
#else
#define MEMBER ((int)(blockIdx.x % CLUSTER))
#define GROUP ((int)(blockIdx.x / CLUSTER))
#define GROUPS ((int)(gridDim.x / CLUSTER))
#define RANK (MEMBER * NT + (int)threadIdx.x)
#define LRANK ((int)threadIdx.x)
#define LSIZE NT
#define OWN(i) (CLUSTER == 1 || (i) / NT % CLUSTER == MEMBER)
#define POS(j) SH.x[j]
#define ORDER(k) SH.order[k]
#define END(c) SH.end[c]
#define N_IN(k) SH.nin[k]
#define N_OUT(k) SH.nout[k]
#define TEAM blockIdx.x
#endif
#define FORCES (A.F + (size_t)(TEAM - TEAM % CLUSTER) * 4 * NP)  // of the team, and how many neighbours of the last species
// Lists lie warp by warp, quad after quad.
#define LIST_AT(i, cap) ((offset_t)((i) / WARP * WARP) * ((cap) + 4) + (i) % WARP)
#define LIST_LOAD(list, bytes) __ldcs(reinterpret_cast<const quad*>(reinterpret_cast<const char*>(list) + (bytes)))
// Where the inner list of a slot begins, and how far apart its quads are.
#if INNER_CAP
#define INNER_LIST(list) SH.inner
#define INNER_AT(i) ((i) / SIZE * NT + (int)threadIdx.x)
#define INNER_STRIDE ((NP + SIZE - 1) / SIZE * NT)
#define INNER_LOAD(list, from) (*reinterpret_cast<const quad*>(reinterpret_cast<const char*>(SH.inner) + (from)))
#else
#define INNER_LIST(list) (list)
#define INNER_AT(i) LIST_AT(i, A.cap_in)
#define INNER_STRIDE WARP
#define INNER_LOAD LIST_LOAD
#endif
// All slots of the team, in whole warps; and all slots that this block, or the grid, must know.
#define EACH(i) for (int i = RANK; i < NP; i += SIZE)
#define LOCAL(i) for (int i = LRANK; i < NP; i += LSIZE)
#define AT(a, d, i) (a)[(d) * NP + (i)]
// What other blocks of a cluster have written lies in the cache that they share.
#if CLUSTER > 1
#define LATEST(a, d, i) __ldcg((a) + (d) * NP + (i))
#else
#define LATEST AT
#endif

__device__ __forceinline__ float as_float(int x) { return __int_as_float(x); }
// The fourth word of a position until shares are dealt.
__device__ __forceinline__ int fourth(int i) {
  return i < SH.sys.n ? (SHARES ? __float_as_int(SH.sys.share * SHARE) : 0) : FAR_AWAY;
}
__device__ __forceinline__ float share_of(const int4& x) { return as_float(x.w) * (1.f / SHARE); }
__device__ __forceinline__ real diff(int a, u32 b, int axis) {
#if CUBIC
  return (real)(int)((u32)a - b);
#else
  return (real)(int)((u32)a - b) * SH.sys.h[axis];
#endif
}
// Squared distance of the nearest images; infinite for a slot without a particle.
__device__ __forceinline__ real distance2(const int4& a, const int4& b, real& x, real& y, real& z) {
  x = diff(a.x, b.x, 0); y = diff(a.y, b.y, 1);
#if DIM == 3
  z = diff(a.z, b.z, 2);
  return fma(x, x, fma(y, y, fma(z, z, (real)as_float(b.w))));
#else
  z = 0;
  return fma(x, x, fma(y, y, (real)as_float(b.w)));
#endif
}
__device__ __forceinline__ int species(int i) {
  int t = 0;
#pragma unroll
  for (int s = 1; s < KS; s++) t += i >= SH.sys.first[s];
  return t;
}

// The largest of a warp.
__device__ __forceinline__ int warp_max(int v) {
#if !defined(HOST) && __CUDA_ARCH__ >= 800
  return __reduce_max_sync(~0u, v);
#else
  for (int d = WARP / 2; d; d >>= 1) v = max(v, __shfl_xor_sync(~0u, v, d));
  return v;
#endif
}

// Team-wide barrier, or, and sums (in an order that depends on the sizes alone).
// Barriers so far with a flag and with sums: which of the rotating slots is next.
struct Phase { int flags, sums; };
#if GRID
__device__ __forceinline__ void team_sync() {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    const unsigned goal = (atomicAdd(A.bar, 1u) / gridDim.x + 1u) * gridDim.x;
    while (*(volatile unsigned*)A.bar < goal) { }
    __threadfence();
  }
  __syncthreads();
}
__device__ __forceinline__ bool team_or(Phase& phase, bool p) {
  if (__syncthreads_or(p) && threadIdx.x == 0) atomicOr(A.flag + (phase.flags & 3), 1);
  team_sync();
  const bool any = *(volatile int*)(A.flag + (phase.flags & 3));
  if (RANK == 0) *(volatile int*)(A.flag + ((phase.flags + 2) & 3)) = 0;
  phase.flags++;
  return any;
}
__device__ __forceinline__ void local_sync() { team_sync(); }
__device__ __forceinline__ bool local_or(Phase& phase, bool p) { return team_or(phase, p); }
#else
__device__ __forceinline__ void team_sync() {
#if CLUSTER == 1
  __syncthreads();
#elif defined(HOST)
  cluster_sync();
#else
  asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
#if CLUSTER > 1
__device__ __forceinline__ bool team_or(Phase& phase, bool p) {
  int* flag = A.flag + 4 * GROUP;
  if (p) *(volatile int*)(flag + (phase.flags & 3)) = 1;
  team_sync();
  const bool any = __ldcg(flag + (phase.flags & 3));
  if (RANK == 0) *(volatile int*)(flag + ((phase.flags + 2) & 3)) = 0;
  phase.flags++;
  return any;
}
#endif
// Blocks of a cluster all look at the same positions, so that they decide alike by themselves.
__device__ __forceinline__ void local_sync() { __syncthreads(); }
__device__ __forceinline__ bool local_or(Phase&, bool p) { return __syncthreads_or(p); }

// Sums over slots: each warp's own first, then those in order, so that bits do not depend on threads or blocks.
__device__ __forceinline__ double* slot_sums(const Phase& phase) {
  return A.gsum + ((size_t)GROUP * 2 + (CLUSTER > 1 ? phase.sums & 1 : 0)) * 6 * (NP / WARP);
}
template <int M>
__device__ __forceinline__ void add_slots(const Phase& phase, int i, double (&v)[M]) {
  double* g = slot_sums(phase);
#pragma unroll
  for (int m = 0; m < M; m++) {
    for (int d = WARP / 2; d; d >>= 1) v[m] += __shfl_xor_sync(~0u, v[m], d);
    if (i % WARP == 0) g[m * (NP / WARP) + i / WARP] = v[m];
  }
}
template <int M>
__device__ __forceinline__ void total(Phase& phase, double (&v)[M]) {
  const int lane = threadIdx.x % WARP, w = threadIdx.x / WARP;
  const double* g = slot_sums(phase);
  team_sync();
  for (int m = w; m < M; m += NT / WARP) {
    double s = 0;
    for (int k = lane; k < NP / WARP; k += WARP) s += __ldcg(g + m * (NP / WARP) + k);
    for (int d = WARP / 2; d; d >>= 1) s += __shfl_xor_sync(~0u, s, d);
    if (lane == 0) SH.red[m][0] = s;
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; m++) v[m] = SH.red[m][0];
  __syncthreads();
  phase.sums++;
}
#endif
#if GRID
template <int M>
__device__ __forceinline__ void team_sum(Phase& phase, double (&v)[M]) {
  const int lane = threadIdx.x % WARP, w = threadIdx.x / WARP;
#pragma unroll
  for (int m = 0; m < M; m++) {
    for (int d = WARP / 2; d; d >>= 1) v[m] += __shfl_xor_sync(~0u, v[m], d);
    if (lane == 0) SH.red[m][w] = v[m];
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; m++) { double s = 0; for (int k = 0; k < NT / WARP; k++) s += SH.red[m][k]; v[m] = s; }
  __syncthreads();
  double* g = A.gsum + (phase.sums & 1) * 8 * gridDim.x;
  if (threadIdx.x == 0) for (int m = 0; m < M; m++) g[m * gridDim.x + blockIdx.x] = v[m];
  team_sync();
  for (int m = w; m < M; m += NT / WARP) {  // small systems have fewer warps than sums
    double s = 0;
    for (int k = lane; k < (int)gridDim.x; k += WARP) s += g[m * gridDim.x + k];
    for (int d = WARP / 2; d; d >>= 1) s += __shfl_xor_sync(~0u, s, d);
    if (lane == 0) SH.red[m][0] = s;
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; m++) v[m] = SH.red[m][0];
  __syncthreads();
  phase.sums++;
}
#endif

// Counter-based random numbers (Philox 4x32, 7 rounds): a function of seed, step and particle alone.
__device__ __forceinline__ uint4 philox(uint4 c, uint2 k) {
#pragma unroll
  for (int r = 0; r < 7; r++) {
    const u32 h0 = __umulhi(0xD2511F53u, c.x), l0 = 0xD2511F53u * c.x, h1 = __umulhi(0xCD9E8D57u, c.z), l1 = 0xCD9E8D57u * c.z;
    c = make_uint4(h1 ^ c.y ^ k.x, l1, h0 ^ c.w ^ k.y, l0);
    k.x += 0x9E3779B9u; k.y += 0xBB67AE85u;
  }
  return c;
}
__device__ __forceinline__ float uniform(u32 x) { return ((float)x + 0.5f) * 2.3283064e-10f; }
// Three normal deviates.
__device__ __forceinline__ float3 normals(uint4 r) {
  const float a = sqrtf(fmaxf(-2.f * __logf(uniform(r.x)), 0.f)), b = sqrtf(fmaxf(-2.f * __logf(uniform(r.z)), 0.f));
  float s, c;
  __sincosf((float)r.y * 1.4629180e-9f, &s, &c);
  return make_float3(a * c, a * s, b * __cosf((float)r.w * 1.4629180e-9f));
}
