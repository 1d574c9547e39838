// The kernels as ordinary C++, a team being one thread: tests run the same source where there is no GPU.
#include <cmath>
#include <cstring>
#include <algorithm>
using std::min; using std::max; using std::fma; using std::fmax; using std::fmin; using std::sqrt;
#define HOST 1
#define __global__
#define __device__
#define __constant__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
struct int2 { int x, y; };
struct int4 { int x, y, z, w; };
struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
struct float3 { float x, y, z; };
struct float4 { float x, y, z, w; };
struct One { int x = 0; };
struct Grid { int x = CLUSTER; };
static One threadIdx;
// Blocks of a cluster are threads of the host.
#if CLUSTER > 1
#include <pthread.h>
#define PER_BLOCK thread_local
struct Barrier { pthread_barrier_t at; Barrier() { pthread_barrier_init(&at, nullptr, CLUSTER); } };
static Barrier barrier;
inline void cluster_sync() { pthread_barrier_wait(&barrier.at); }
#else
#define PER_BLOCK
#endif
static PER_BLOCK One blockIdx;
extern "C" void become(int block) { blockIdx.x = block; }
static Grid gridDim;
inline int4 make_int4(int a, int b, int c, int d) { return {a, b, c, d}; }
inline uint2 make_uint2(unsigned a, unsigned b) { return {a, b}; }
inline uint4 make_uint4(unsigned a, unsigned b, unsigned c, unsigned d) { return {a, b, c, d}; }
inline float3 make_float3(float a, float b, float c) { return {a, b, c}; }
inline float __int_as_float(int x) { float y; std::memcpy(&y, &x, 4); return y; }
inline int __float_as_int(float x) { int y; std::memcpy(&y, &x, 4); return y; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, int k) { return (unsigned)((((unsigned long long)hi << 32) | lo) >> k); }
inline int __float2int_rn(float x) { return (int)std::lrintf(x); }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
inline float __logf(float x) { return std::log(x); }
inline float __cosf(float x) { return std::cos(x); }
inline void __sincosf(float x, float* s, float* c) { *s = std::sin(x); *c = std::cos(x); }
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
  const unsigned long long both = (unsigned long long)y << 32 | x;
  unsigned out = 0;
  for (int k = 0; k < 4; k++) out |= (unsigned)(both >> 8 * (s >> 4 * k & 7) & 0xff) << 8 * k;
  return out;
}
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline T __ldcg(const T* p) { return *p; }
template <class T> inline T __shfl_xor_sync(unsigned, T v, int) { return v; }
template <class T> inline T __shfl_up_sync(unsigned, T v, int) { return v; }
template <class T, class U> inline T atomicAdd(T* p, U v) { T o = *p; *p += v; return o; }
template <class T, class U> inline T atomicOr(T* p, U v) { T o = *p; *p |= v; return o; }
template <class T, class U> inline T atomicExch(T* p, U v) { T o = *p; *p = v; return o; }
inline unsigned __ballot_sync(unsigned, bool p) { return p; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline void __syncthreads() {}
inline bool __syncthreads_or(bool p) { return p; }
inline void __threadfence() {}
inline void __nanosleep(unsigned) {}
