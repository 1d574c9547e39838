// Molecular dynamics: velocity Verlet, whole chunks of steps in one launch.
// X, V, ACC: read and written.  Records go to stats and frames, cage sums to sums.

struct Kick { float half, evk; bool drift, store; };

// One force evaluation of all slots and what follows from it: kick by k.half*F, then drift.
// With E, sums of the potential energy, of twice the kinetic energy and of the virial of this thread's slots.
template <bool E>
__device__ __forceinline__ void step(next_t* X, float* V, const u32* XI, float& m, const quad* INNER, real* F, const u32* C, const i64* ids, const Kick& k, int at,
                                     float temperature, uint2 key, const Phase& phase, double (&sums)[3]) {
  real le = 0, lw = 0;
  float lk = 0;
#pragma unroll 1
  EACH(i) {
    const int4 xi = POS(i);
    real fx, fy, fz, e, w;
#if CLUSTER > 1
    float vx = AT(V, 0, i), vy = AT(V, 1, i), vz = AT(V, 2, i);  // they come while forces are summed
    force_on<E>(i, xi, INNER, fx, fy, fz, e, w);
#else
    force_on<E>(i, xi, INNER, fx, fy, fz, e, w);
    float vx = AT(V, 0, i), vy = AT(V, 1, i), vz = AT(V, 2, i);
#endif
    if (C) {
      // Flat-bottomed harmonic wall about the particle's own centre.
      const real rx = diff(xi.x, AT(C, 0, i), 0), ry = diff(xi.y, AT(C, 1, i), 1), rz = diff(xi.z, AT(C, 2, i), 2);
      const real r2 = rx * rx + ry * ry + rz * rz, rc = SH.sys.wall;
      if (r2 > rc * rc) {
        const real g = -SH.sys.stiff * (1 - rc * rsquare(r2));
        fx += g * rx; fy += g * ry; fz += g * rz;
      }
    }
    const float im = SH.sys.inv_mass[species(i)], kick = k.half * im;
    if (E) {
      const float s = k.evk * im, a = fmaf(s, fx, vx), b = fmaf(s, fy, vy), c = fmaf(s, fz, vz);
#if GRID
      le += e; lw += w; lk += (a * a + b * b + c * c) / im;
#else
      double own[3] = {0.5 * e, (a * a + b * b + c * c) / im, 0.5 * w * SH.sys.hp};
      add_slots<3>(phase, i, own);
#endif
    }
    vx = fmaf(kick, fx, vx); vy = fmaf(kick, fy, vy); vz = fmaf(kick, fz, vz);
    if (SHARES || k.store) { AT(F, 0, i) = fx; AT(F, 1, i) = fy; AT(F, 2, i) = fz; }
    if (k.drift) {
      const float ax = A.dt * SH.sys.hinv[0], ay = A.dt * SH.sys.hinv[1], az = A.dt * SH.sys.hinv[2];
      int x = xi.x, y = xi.y, z = xi.z;
      if (A.thermostat == 2) {
        // BAOAB: half a drift, the exact Ornstein-Uhlenbeck step of the velocity, half a drift.
        x += __float2int_rn(vx * ax * .5f); y += __float2int_rn(vy * ay * .5f); z += __float2int_rn(vz * az * .5f);
        const float3 g = normals(philox(make_uint4((u32)ids[i], at + A.step0, 0, 0x5eedu), key));
        const float s = i < SH.sys.n ? sqrtf(temperature * im * (1.f - A.ou * A.ou)) : 0.f;
        vx = fmaf(A.ou, vx, s * g.x); vy = fmaf(A.ou, vy, s * g.y); vz = DIM == 3 ? fmaf(A.ou, vz, s * g.z) : 0.f;
        x += __float2int_rn(vx * ax * .5f); y += __float2int_rn(vy * ay * .5f); z += __float2int_rn(vz * az * .5f);
      } else {
        x += __float2int_rn(vx * ax); y += __float2int_rn(vy * ay); z += __float2int_rn(vz * az);
      }
      move(X, i, x, y, z, XI, m);
    }
    AT(V, 0, i) = vx; AT(V, 1, i) = vy; AT(V, 2, i) = vz;
  }
  if (E) { sums[0] = 0.5 * le; sums[1] = lk; sums[2] = 0.5 * lw * SH.sys.hp; }
}

// Factor of the velocities by stochastic rescaling, Bussi, Donadio and Parrinello, JCP 126, 014101 (2007), eq. (A7).
__device__ __noinline__ float rescaling(double ke2, float temperature, float lag, uint2 key, int at) {
  const float dof = DIM * (SH.sys.n - 1.f), a = 0.5f * (dof - 1.f) - 1.f / 3.f, c9 = rsqrtf(9.f * a);
  float gamma = a;
  float r1 = 0;
  for (u32 trial = 0; trial < 64; trial++) {  // Marsaglia and Tsang's gamma deviate of shape (dof - 1)/2
    const uint4 r = philox(make_uint4(trial, at + A.step0, 1, 0x7e3aU), key);
    const float3 g = normals(r);
    const float v = 1.f + c9 * g.x, v3 = v * v * v;
    r1 = g.y;
    if (v > 0 && logf(uniform(philox(make_uint4(trial, at + A.step0, 2, 0x7e3aU), key).x)) < 0.5f * g.x * g.x + a - a * v3 + a * logf(v3)) { gamma = a * v3; break; }
  }
  const float c = expf(-lag / A.tau), ratio = (float)(temperature * dof / ke2) / dof * (1.f - c);
  const float f = c + ratio * (r1 * r1 + 2.f * gamma) + 2.f * r1 * sqrtf(c * ratio);
  return sqrtf(fmaxf(f, 0.f));
}

// Adds where the particles of a cage are, seen from the centre of mass of all where that is held: then the mean velocity
// is taken off, and all are steered back to where they began until the next sample.  Takes one sum of the phase, a copy,
// so that the caller's stays in registers.
__device__ __noinline__ void sample_cage(float* V, const u32* O, float* o, Phase phase, bool counts) {
  double s[6] = {0, 0, 0, 0, 0, 0};
  if (A.centred) {
    EACH(i) {
      const int4 x = POS(i);
      const double m = i < SH.sys.n ? 1. / SH.sys.inv_mass[species(i)] : 0.;
      double own[6] = {m * (int)((u32)x.x - AT(O, 0, i)) * SH.sys.h[0], m * (int)((u32)x.y - AT(O, 1, i)) * SH.sys.h[1],
                       m * (int)((u32)x.z - AT(O, 2, i)) * SH.sys.h[2], m * AT(V, 0, i), m * AT(V, 1, i), m * AT(V, 2, i)};
#if GRID
      for (int a = 0; a < 6; a++) s[a] += own[a];
#else
      add_slots<6>(phase, i, own);
#endif
    }
#if GRID
    team_sum<6>(phase, s);
#else
    total<6>(phase, s);
#endif
    double mass = 0;
    for (int k = 0; k < KS; k++) mass += (SH.sys.first[k + 1] - SH.sys.first[k]) / (double)SH.sys.inv_mass[k];
    for (int a = 0; a < 6; a++) s[a] /= mass;
    const double lag = A.every * (double)A.dt;
    EACH(i) if (i < SH.sys.n) for (int a = 0; a < 3; a++) AT(V, a, i) -= (float)(s[3 + a] + s[a] / lag);
  }
  if (counts) EACH(i) {
    const int4 x = POS(i);
    const float dx = (float)(int)((u32)x.x - AT(O, 0, i)) * SH.sys.h[0] - (float)s[0],
                dy = (float)(int)((u32)x.y - AT(O, 1, i)) * SH.sys.h[1] - (float)s[1],
                dz = (float)(int)((u32)x.z - AT(O, 2, i)) * SH.sys.h[2] - (float)s[2];
    AT(o, 0, i) += dx; AT(o, 1, i) += dy; AT(o, 2, i) += dz;
    AT(o, 3, i) += dx * dx; AT(o, 4, i) += dy * dy; AT(o, 5, i) += dz * dz;
    AT(o, 6, i) += dx * dy; AT(o, 7, i) += dx * dz; AT(o, 8, i) += dy * dz; AT(o, 9, i) += 1.f;
  }
}

__device__ __forceinline__ void load_system(int sys, const u32* X) {
  const int words = sizeof(System) / 4;
  for (int k = threadIdx.x; k < words; k += NT) reinterpret_cast<int*>(&SH.sys)[k] = reinterpret_cast<const int*>(A.systems + sys)[k];
  __syncthreads();
  LOCAL(i) POS(i) = make_int4((int)LATEST(X, 0, i), (int)LATEST(X, 1, i), (int)LATEST(X, 2, i), fourth(i));
  local_sync();
}

// Every so many steps velocities are rescaled; lists, once built, are whole for the chunk.
#define RESCALE_EVERY 10

extern "C" __global__ void CLUSTERED __launch_bounds__(NT, MINB) md() {
  CHECK_SHARED
  const int tid = threadIdx.x;
  quad* OUTER = A.OUTER + (size_t)TEAM * (A.cap_out + 4) * NP;
  quad* INNER = A.INNER + (size_t)TEAM * (A.cap_in + 4) * NP;
  u32* XI = A.XI + (size_t)TEAM * 3 * NP;
  u32* XO = A.XO + (size_t)TEAM * 3 * NP;
  real* F = FORCES;
  Phase phase = {0, 0};
  for (int turn = 0;; turn++) {
    __syncthreads();
#if GRID || CLUSTER > 1
    const int it = turn;
    if (it >= A.nitems) return;
    const int2 im = A.items[it];
#if !GRID
    if (im.x % GROUPS != GROUP) continue;
#endif
#else
    // Blocks take chunks from a queue; a chunk waits for the one before it.
    if (tid == 0) SH.item = atomicAdd(A.queue, 1);
    __syncthreads();
    const int it = SH.item;
    if (it >= A.nitems) return;
    const int2 im = A.items[it];
    if (tid == 0) { while (atomicAdd(A.done + im.x, 0) != im.y) __nanosleep(2000); __threadfence(); }
    __syncthreads();
    __threadfence();
#endif
    u32* X = A.X + (size_t)im.x * 3 * NP;
    float* V = A.V + (size_t)im.x * 3 * NP;
    i64* ACC = A.ACC + (size_t)im.x * 3 * NP;
    u32* C = A.centre ? A.centre + (size_t)im.x * 3 * NP : nullptr;
    u32* O = A.origin ? A.origin + (size_t)im.x * 3 * NP : nullptr;
    i64* ids = A.ids + (size_t)im.x * NP;
    const State state = {X, V, ACC, ids, C, O, A.sums ? A.sums + (size_t)im.x * 10 * NP : nullptr};
    load_system(im.x, X);
    build_outer(XO, OUTER, state, true);
    build_inner(XI, OUTER, INNER);
    const int k0 = im.y * A.chunk, k1 = min(A.steps, k0 + A.chunk);
    const u64 seed = A.seeds[im.x];
    const uint2 key = make_uint2((u32)seed, (u32)(seed >> 32));
    int nf = 0, rebuilt = 0;
    while (nf < A.nframes && A.frame_step[nf] < k0) nf++;
    for (int k = k0; k <= k1; k++) {
      next_t* next = NEXT(k);
      float moved = 0.f;
      const bool own = k < k1 || k1 == A.steps, inside = k > k0 && k < k1;
      const float temperature = A.temp0 + (A.temp1 - A.temp0) * ((float)k / (float)A.steps);
      if (A.sums && own && (k - A.skip) % A.every == 0) {
        sample_cage(V, O, A.sums + (size_t)im.x * 10 * NP, phase, k >= A.skip);
        phase.sums += A.centred;
      }
      if (own && nf < A.nframes && A.frame_step[nf] == k) {
        float* o = A.frames + ((size_t)im.x * A.nframes + nf) * 3 * NP;
        EACH(i) {
          const int4 x = POS(i);
          const int p = (int)ids[i];
          AT(o, 0, p) = (float)((double)(AT(ACC, 0, i) + (int)((u32)x.x - AT(XO, 0, i))) * SH.sys.h[0]);
          AT(o, 1, p) = (float)((double)(AT(ACC, 1, i) + (int)((u32)x.y - AT(XO, 1, i))) * SH.sys.h[1]);
          AT(o, 2, p) = (float)((double)(AT(ACC, 2, i) + (int)((u32)x.z - AT(XO, 2, i))) * SH.sys.h[2]);
        }
        nf++;
      }
      const bool record = own && A.sample_every && k % A.sample_every == 0;
      const bool rescale = A.thermostat == 1 && inside && k % RESCALE_EVERY == 0;
      Kick kick = {inside ? A.dt : 0.5f * A.dt, k == k0 ? 0.f : 0.5f * A.dt, k < k1, false};
      if (rescale) { kick.half = 0.5f * A.dt; kick.drift = false; kick.store = true; }
      if (record || rescale) {
        double s[3];
        step<true>(next, V, XI, moved, INNER, F, C, ids, kick, k, temperature, key, phase, s);
#if GRID
        team_sum<3>(phase, s);
#else
        total<3>(phase, s);
#endif
        if (record && RANK == 0) {
          double* o = A.stats + ((size_t)im.x * A.nrec + k / A.sample_every) * 4;
          o[0] = s[0]; o[1] = 0.5 * s[1]; o[2] = s[2]; o[3] = rebuilt;
        }
        if (rescale) {
          if (tid == 0) SH.scale = rescaling(s[1], temperature, RESCALE_EVERY * A.dt, key, k);
          __syncthreads();
          const float scale = SH.scale;
          EACH(i) {
            const int4 x = POS(i);
            const float half = 0.5f * A.dt * SH.sys.inv_mass[species(i)];
            const float vx = fmaf(half, AT(F, 0, i), scale * AT(V, 0, i)), vy = fmaf(half, AT(F, 1, i), scale * AT(V, 1, i)),
                        vz = fmaf(half, AT(F, 2, i), scale * AT(V, 2, i));
            AT(V, 0, i) = vx; AT(V, 1, i) = vy; AT(V, 2, i) = vz;
            move(next, i, x.x + __float2int_rn(vx * A.dt * SH.sys.hinv[0]), x.y + __float2int_rn(vy * A.dt * SH.sys.hinv[1]),
                 x.z + __float2int_rn(vz * A.dt * SH.sys.hinv[2]), XI, moved);
          }
        }
      } else {
        double none[3];
        step<false>(next, V, XI, moved, INNER, F, C, ids, kick, k, temperature, key, phase, none);
      }
      if (k < k1) rebuilt += refresh(phase, next, moved, XI, XO, INNER, OUTER, state, F);
    }
    EACH(i) {
      const int4 x = POS(i);
      AT(ACC, 0, i) += (int)((u32)x.x - AT(XO, 0, i));
      AT(ACC, 1, i) += (int)((u32)x.y - AT(XO, 1, i));
      AT(ACC, 2, i) += (int)((u32)x.z - AT(XO, 2, i));
#if CLUSTER > 1
      AT(X, 0, i) = x.x; AT(X, 1, i) = x.y; AT(X, 2, i) = x.z;
#endif
    }
    team_sync();
#if !GRID && CLUSTER == 1
    __threadfence();
    __syncthreads();
    if (tid == 0) { __threadfence(); atomicExch(A.done + im.x, im.y + 1); }
#endif
  }
}
