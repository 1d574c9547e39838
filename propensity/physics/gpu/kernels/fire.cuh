// FIRE minimisation, E. Bitzek et al., PRL 97, 170201 (2006), with steps of at most 0.05; one team a system.
// V is scratch.  stats: [system][6] = energy, particles
// whose force exceeds the tolerance, iterations, rms force component, energy at the start, virial.
// With maxit 0: energy and forces (fout) of the configuration alone.

extern "C" __global__ void CLUSTERED __launch_bounds__(NT, MINB) fire() {
  CHECK_SHARED
  quad* OUTER = A.OUTER + (size_t)TEAM * (A.cap_out + 4) * NP;
  quad* INNER = A.INNER + (size_t)TEAM * (A.cap_in + 4) * NP;
  u32* XI = A.XI + (size_t)TEAM * 3 * NP;
  u32* XO = A.XO + (size_t)TEAM * 3 * NP;
  real* F = FORCES;
  Phase phase = {0, 0};
#if GRID
  for (int sys = 0; sys < A.nitems; sys++) {
#else
  for (int sys = GROUP; sys < A.nitems; sys += GROUPS) {
#endif
    u32* X = A.X + (size_t)sys * 3 * NP;
    float* V = A.V + (size_t)sys * 3 * NP;
    i64* ACC = A.ACC + (size_t)sys * 3 * NP;
    team_sync();
    load_system(sys, X);
    EACH(i) for (int d = 0; d < 3; d++) { AT(ACC, d, i) = 0; AT(V, d, i) = 0.f; }
    const State state = {X, nullptr, ACC, nullptr, nullptr, nullptr, nullptr};  // particles keep their slots
    build_outer(XO, OUTER, state, true);
    build_inner(XI, OUTER, INNER);
    float dt = 0.002f, alpha = 0.1f;
    int downhill = 0, iter = 0;
    double s[6], start = 0;
    for (;; iter++) {
      next_t* next = NEXT(iter);
      float moved = 0.f;
      real lfv = 0, lff = 0, lvv = 0, le = 0, lw = 0, lm = 0;
#pragma unroll 1
      EACH(i) {
        const int4 xi = POS(i);
        real fx, fy, fz, e, w;
        force_on<true>(i, xi, INNER, fx, fy, fz, e, w);
        AT(F, 0, i) = fx; AT(F, 1, i) = fy; AT(F, 2, i) = fz;
        if (A.fout) { real* o = A.fout + (size_t)sys * 3 * NP; AT(o, 0, i) = fx; AT(o, 1, i) = fy; AT(o, 2, i) = fz; }
        const float vx = AT(V, 0, i), vy = AT(V, 1, i), vz = AT(V, 2, i);
        const real f2 = fx * fx + fy * fy + fz * fz;
        const real above = f2 > (real)A.ftol * (real)A.ftol;
#if GRID
        lfv += fx * vx + fy * vy + fz * vz; lff += f2; lvv += vx * vx + vy * vy + vz * vz; le += e; lw += w; lm += above;
#else
        double own[6] = {fx * vx + fy * vy + fz * vz, f2, (real)(vx * vx + vy * vy + vz * vz), 0.5 * e, above, 0.5 * w * SH.sys.hp};
        add_slots<6>(phase, i, own);
#endif
      }
#if GRID
      s[0] = lfv; s[1] = lff; s[2] = lvv; s[3] = 0.5 * le; s[4] = lm; s[5] = 0.5 * lw * SH.sys.hp;
      team_sum<6>(phase, s);
#else
      total<6>(phase, s);
#endif
      if (iter == 0) start = s[3];
      // Converged when no particle's force exceeds the tolerance.
      if (s[4] == 0 || iter >= A.maxit) break;
      float keep = 1.f;
      if (s[0] > 0) { if (++downhill > 5) { dt = fminf(dt * 1.1f, 0.025f); alpha *= 0.99f; } }
      else if (iter > 0) { downhill = 0; dt = fmaxf(dt * 0.5f, 5e-4f); alpha = 0.1f; keep = 0.f; }
      const float vn = sqrtf((float)s[2]), fn = sqrtf((float)s[1]);
      const float mix = keep > 0.f && fn > 0.f ? alpha * vn / fn : 0.f, kp = keep > 0.f ? 1.f - alpha : 0.f;
      EACH(i) {
        const int4 xi = POS(i);
        float vx = kp * AT(V, 0, i) + (mix + dt) * (float)AT(F, 0, i), vy = kp * AT(V, 1, i) + (mix + dt) * (float)AT(F, 1, i),
              vz = kp * AT(V, 2, i) + (mix + dt) * (float)AT(F, 2, i);
        const float sp = sqrtf(vx * vx + vy * vy + vz * vz) * dt;
        if (sp > 0.05f) { const float w = 0.05f / sp; vx *= w; vy *= w; vz *= w; }
        AT(V, 0, i) = vx; AT(V, 1, i) = vy; AT(V, 2, i) = vz;
        move(next, i, xi.x + __float2int_rn(vx * dt * SH.sys.hinv[0]), xi.y + __float2int_rn(vy * dt * SH.sys.hinv[1]),
             xi.z + __float2int_rn(vz * dt * SH.sys.hinv[2]), XI, moved);
      }
      refresh(phase, next, moved, XI, XO, INNER, OUTER, state, nullptr);
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
    if (RANK == 0) {
      double* o = A.stats + (size_t)sys * 6;
      o[0] = s[3]; o[1] = s[4]; o[2] = iter; o[3] = sqrt(s[1] / ((double)DIM * SH.sys.n)); o[4] = start; o[5] = s[5];
    }
  }
}
