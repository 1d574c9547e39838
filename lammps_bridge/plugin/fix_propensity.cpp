// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later

#include "fix_propensity.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "memory.h"
#include "update.h"
#include "utils.h"

#include <climits>
#include <cmath>
#include <set>
#include <stdexcept>
#include <unistd.h>

using namespace LAMMPS_NS;

FixPropensity::FixPropensity(LAMMPS *lmp, int narg, char **arg) : Fix(lmp, narg, arg)
{
  std::string server;
  int timeout = 600;
  const std::string options = parse(narg, arg, server, timeout);

  double sizes[2] = {0, 0};    // times and species
  const std::string note = on_root([&] {
    link = std::make_unique<propensity::Link>(timeout);
    if (server.empty()) link->start();
    else link->connect(server);
    auto reply = link->hello(options);
    if (reply.values.size() != 2) throw std::runtime_error("the server sent an answer of the wrong size.");
    sizes[0] = reply.values[0];
    sizes[1] = reply.values[1];
    return reply.note;
  });
  if (comm->me == 0) utils::logmesg(lmp, "fix propensity: " + note + "\n");
  MPI_Bcast(sizes, 2, MPI_DOUBLE, 0, world);
  columns = static_cast<int>(sizes[0]);

  peratom_flag = 1;
  size_peratom_cols = columns == 1 ? 0 : columns;
  peratom_freq = global_freq = nevery;
  scalar_flag = vector_flag = 1;
  extscalar = biased;    // the energy of the bias, else a mean
  extvector = 0;
  energy_global_flag = biased;
  means.assign(columns * (1 + static_cast<int>(sizes[1])) + 2, NAN);
  size_vector = static_cast<int>(means.size());
  dynamic_group_allow = 1;
  maxexchange = columns;

  FixPropensity::grow_arrays(atom->nmax);
  for (int i = 0; i < atom->nlocal; ++i) FixPropensity::set_arrays(i);
  atom->add_callback(Atom::GROW);
}

FixPropensity::~FixPropensity()
{
  if (columns == 0) return;    // the constructor failed
  atom->delete_callback(id, Atom::GROW);
  if (columns == 1) memory->destroy(vector_atom);
  else memory->destroy(array_atom);
}

// Options for the server, one a line and words separated by tabs; only what rank 0 needs itself is read here.
std::string FixPropensity::parse(int narg, char **arg, std::string &server, int &timeout)
{
  const std::string usage = "use `fix ID group propensity N species A B ...` with one species for each of the " +
      std::to_string(atom->ntypes) + " atom types";
  if (narg < 4) error->all(FLERR, "fix propensity: " + usage);
  nevery = utils::inumeric(FLERR, arg[3], false, lmp);
  if (nevery < 1) error->all(FLERR, std::string("fix propensity: N is ") + arg[3] + ": give a positive number of steps");
  if (!atom->tag_enable) error->all(FLERR, "fix propensity: atoms have no IDs: leave out `atom_modify id no`");

  const std::set<std::string> single = {"length_scale", "temperature", "device", "server", "timeout"}, several = {"species", "model", "times", "potential", "bias"};
  auto is_keyword = [&](const char *word) { return single.count(word) || several.count(word); };
  std::string options;
  std::set<std::string> seen;
  for (int i = 4; i < narg;) {
    const std::string keyword = arg[i];
    if (!is_keyword(arg[i]))
      error->all(FLERR, "fix propensity: unknown keyword '" + keyword + "': choose from species, model, times, length_scale, temperature, potential, bias, device, server, timeout");
    if (!seen.insert(keyword).second) error->all(FLERR, "fix propensity: keyword '" + keyword + "' is there twice: give it once");
    const int first = ++i;
    while (i < narg && !is_keyword(arg[i])) ++i;
    const int words = i - first;
    if (keyword == "species") {
      std::string names;
      for (int k = first; k < i; ++k) names += std::string(k > first ? " " : "") + arg[k];
      if (words != atom->ntypes) error->all(FLERR, "fix propensity: species is '" + names + "': " + usage);
    }
    if (keyword == "bias") biased = true;
    if (words == 0 || (words > 1 && single.count(keyword)))
      error->all(FLERR, "fix propensity: keyword '" + keyword + "' has " + std::to_string(words) + " values: give " + (words ? "one" : "it one"));
    if (keyword == "server") {
      server = arg[first];
    } else if (keyword == "timeout") {
      timeout = utils::inumeric(FLERR, arg[first], false, lmp);
      if (timeout < 1) error->all(FLERR, "fix propensity: timeout must be at least 1 s");
    } else {
      options += keyword;
      for (int k = first; k < i; ++k) options += std::string("\t") + arg[k];
      options += "\n";
    }
  }
  if (!seen.count("species")) error->all(FLERR, "fix propensity: species is missing: " + usage);
  return options;
}

int FixPropensity::setmask()
{
  return FixConst::END_OF_STEP | (biased ? FixConst::POST_FORCE : 0);
}

void FixPropensity::init()
{
  // Its last configuration is known only when output has been written, so values would be old ones.
  if (update->whichflag == 2)
    error->all(FLERR, "fix propensity can't follow a minimization: define it afterwards (or unfix it first) and use `run 0`");
  if (biased && utils::strmatch(update->integrate_style, "^respa"))
    error->all(FLERR, "fix propensity: a bias gives no forces to `run_style respa`: use `run_style verlet`; N steps between biases are impulses of r-RESPA by themselves");
}

void FixPropensity::setup(int)
{
  evaluate();
  if (biased) push();
}

// Every nevery steps a force nevery times as large: the impulses of r-RESPA, which conserve energy.
void FixPropensity::post_force(int)
{
  if (update->ntimestep % nevery) return;
  evaluate();
  push();
}

void FixPropensity::push()
{
  if (update->ntimestep % nevery) return;
  for (int i = 0; i < atom->nlocal; ++i)
    for (int k = 0; k < 3; ++k) atom->f[i][k] += nevery * forces[3 * i + k];
}

void FixPropensity::end_of_step()
{
  if (evaluated != update->ntimestep) evaluate();    // rerun has come from setup() just now
}

double FixPropensity::compute_scalar()
{
  return biased ? energy : means[0];
}

double FixPropensity::compute_vector(int i)
{
  return means[i];
}

void FixPropensity::evaluate()
{
  const int n = atom->nlocal;
  if (atom->natoms * 3 > INT_MAX) error->all(FLERR, "fix propensity: more than 7e8 atoms can't be gathered");
  std::vector<int64_t> tags(atom->tag, atom->tag + n);
  std::vector<int32_t> types(atom->type, atom->type + n), selected(n);
  std::vector<double> positions(3 * n);
  for (int i = 0; i < n; ++i) {
    selected[i] = (atom->mask[i] & groupbit) != 0;
    for (int k = 0; k < 3; ++k) positions[3 * i + k] = atom->x[i][k] - domain->boxlo[k];
  }
  tags = gather(tags, MPI_INT64_T);
  types = gather(types, MPI_INT32_T);
  selected = gather(selected, MPI_INT32_T);
  positions = gather(positions, MPI_DOUBLE);
  std::vector<double> radii;
  if (atom->radius_flag) {
    if (n > 0) radii.assign(atom->radius, atom->radius + n);
    radii = gather(radii, MPI_DOUBLE);
  }

  const double cell[9] = {domain->xprd, 0, 0, domain->xy, domain->yprd, 0, domain->xz, domain->yz, domain->zprd};
  const int periodic = domain->xperiodic | domain->yperiodic << 1 | (domain->zperiodic && domain->dimension == 3) << 2;

  propensity::Reply reply;
  const std::string note = on_root([&] {
    if (tags.empty()) throw std::runtime_error("no atoms are left: all are lost or deleted.");
    reply = link->frame(periodic, cell, tags, types, selected, positions, radii);
    const size_t expected = means.size() + tags.size() * columns + (biased ? 1 + 3 * tags.size() : 0);
    if (reply.values.size() != expected) throw std::runtime_error("the server sent an answer of the wrong size.");
    return reply.note;
  });
  if (comm->me == 0 && !note.empty()) error->warning(FLERR, "fix propensity: " + note);
  const bigint missing = atom->natoms - static_cast<bigint>(tags.size());
  if (comm->me == 0 && missing != 0 && !lost) {
    lost = true;
    error->warning(FLERR, "fix propensity: lost atoms, which no neighbour sees any more: " + std::to_string(missing));
  }

  if (comm->me == 0) std::copy_n(reply.values.begin(), means.size(), means.begin());
  MPI_Bcast(means.data(), size_vector, MPI_DOUBLE, 0, world);

  std::vector<int> counts(comm->nprocs), starts(comm->nprocs, 0);
  const int mine = n * columns;
  MPI_Gather(&mine, 1, MPI_INT, counts.data(), 1, MPI_INT, 0, world);
  for (int rank = 1; rank < comm->nprocs; ++rank) starts[rank] = starts[rank - 1] + counts[rank - 1];
  double *where = columns == 1 ? vector_atom : (array_atom ? array_atom[0] : nullptr);
  MPI_Scatterv(reply.values.data() + (comm->me == 0 ? means.size() : 0), counts.data(), starts.data(), MPI_DOUBLE, where, mine,
               MPI_DOUBLE, 0, world);
  if (biased) {
    const double *rest = reply.values.data() + (comm->me == 0 ? means.size() + tags.size() * columns : 0);
    if (comm->me == 0) energy = rest[0];
    MPI_Bcast(&energy, 1, MPI_DOUBLE, 0, world);
    for (int rank = 0; rank < comm->nprocs && comm->me == 0; ++rank) {
      counts[rank] = counts[rank] / columns * 3;
      starts[rank] = rank ? starts[rank - 1] + counts[rank - 1] : 0;
    }
    forces.resize(3 * n);
    MPI_Scatterv(rest + (comm->me == 0), counts.data(), starts.data(), MPI_DOUBLE, forces.data(), 3 * n, MPI_DOUBLE, 0, world);
  }
  evaluated = update->ntimestep;
}

// Does work on rank 0 only; a failure there stops every rank with its message, and none waits for another.
std::string FixPropensity::on_root(const std::function<std::string()> &work)
{
  std::string text;
  int message[2] = {0, 0};    // failed, length
  if (comm->me == 0) {
    try {
      text = work();
    } catch (const std::exception &trouble) {
      text = trouble.what();
      message[0] = 1;
    }
    message[1] = static_cast<int>(text.size());
  }
  broadcast(message, 2, MPI_INT);
  if (message[0]) {
    text.resize(message[1]);
    MPI_Bcast(&text[0], message[1], MPI_CHAR, 0, world);
    error->all(FLERR, "fix propensity: " + text);
  }
  return text;
}

// As MPI_Bcast, but ranks that wait leave their core to the network.
void FixPropensity::broadcast(void *data, int count, MPI_Datatype type)
{
  MPI_Request request;
  MPI_Ibcast(data, count, type, 0, world, &request);
  for (int done = 0;;) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) return;
    usleep(50);
  }
}

// Concatenated in the order of ranks on rank 0, empty elsewhere.
template <class T> std::vector<T> FixPropensity::gather(const std::vector<T> &local, MPI_Datatype type)
{
  const int n = static_cast<int>(local.size());
  std::vector<int> counts(comm->nprocs), starts(comm->nprocs, 0);
  MPI_Gather(&n, 1, MPI_INT, counts.data(), 1, MPI_INT, 0, world);
  for (int rank = 1; rank < comm->nprocs; ++rank) starts[rank] = starts[rank - 1] + counts[rank - 1];
  std::vector<T> all(comm->me == 0 ? starts.back() + counts.back() : 0);
  MPI_Gatherv(local.data(), n, type, all.data(), counts.data(), starts.data(), type, 0, world);
  return all;
}

// Values travel with their atoms, so that they stay right between two evaluations.

void FixPropensity::grow_arrays(int nmax)
{
  if (columns == 1) memory->grow(vector_atom, nmax, "propensity:values");
  else memory->grow(array_atom, nmax, columns, "propensity:values");
}

void FixPropensity::copy_arrays(int i, int j, int)
{
  std::copy_n(values(i), columns, values(j));
}

void FixPropensity::set_arrays(int i)
{
  std::fill_n(values(i), columns, NAN);    // not evaluated yet
}

int FixPropensity::pack_exchange(int i, double *buffer)
{
  std::copy_n(values(i), columns, buffer);
  return columns;
}

int FixPropensity::unpack_exchange(int i, double *buffer)
{
  std::copy_n(buffer, columns, values(i));
  return columns;
}

double FixPropensity::memory_usage()
{
  return static_cast<double>(atom->nmax) * columns * sizeof(double);
}
