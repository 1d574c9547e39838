// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// fix ID group propensity N species A B ... [model NAME ...] [times all|t ...] [length_scale s] [device d]
//                                           [bias linear lambda|harmonic k q0]
//                                           [server host:port|unix:path] [timeout seconds]
// Per-atom: propensity (one time) or one column a time.  Scalar: mean over the group at the first time.
// With a bias its forces act every N steps, N times as large, and the scalar is its energy (fix_modify energy).
// Vector: for each time the mean over the group, then the mean over each species of the model; at its end
// whether the configuration is unlike those of the training (1 or 0), and the fraction of such atoms.

#ifndef PROPENSITY_FIX_H
#define PROPENSITY_FIX_H

#include "fix.h"
#include "link.h"

#include <functional>
#include <memory>

namespace LAMMPS_NS {

class FixPropensity : public Fix {
 public:
  FixPropensity(LAMMPS *, int, char **);
  ~FixPropensity() override;
  int setmask() override;
  void init() override;
  void setup(int) override;
  void post_force(int) override;
  void end_of_step() override;
  double compute_scalar() override;
  double compute_vector(int) override;
  void grow_arrays(int) override;
  void copy_arrays(int, int, int) override;
  void set_arrays(int) override;
  int pack_exchange(int, double *) override;
  int unpack_exchange(int, double *) override;
  double memory_usage() override;

 private:
  std::unique_ptr<propensity::Link> link;    // on rank 0 only
  std::vector<double> means;                 // and the two doubts
  std::vector<double> forces;                // of the bias
  double energy = 0;
  bool biased = false, lost = false;
  int columns = 0;
  bigint evaluated = -1;                     // step of the values

  std::string parse(int, char **, std::string &server, int &timeout);
  void evaluate();
  void push();
  double *values(int i) { return columns == 1 ? vector_atom + i : array_atom[i]; }
  std::string on_root(const std::function<std::string()> &);
  void broadcast(void *, int, MPI_Datatype);
  template <class T> std::vector<T> gather(const std::vector<T> &, MPI_Datatype);
};

}    // namespace LAMMPS_NS

#endif
