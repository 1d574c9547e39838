// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Connection to the Python process that holds the model; the protocol is lammps_bridge/protocol.py.

#ifndef PROPENSITY_LINK_H
#define PROPENSITY_LINK_H

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace propensity {

struct Reply {
  std::string note;              // something to tell the user; empty if nothing
  std::vector<double> values;
};

// Every failure is a std::runtime_error whose text a user can act on.
class Link {
 public:
  explicit Link(int timeout_seconds) : timeout(timeout_seconds) {}
  ~Link();
  Link(const Link &) = delete;
  Link &operator=(const Link &) = delete;

  void start();                              // own server: a child process that ends with this object
  void connect(const std::string &address);  // a server started by the user: host:port or unix:path
  Reply hello(const std::string &options);
  Reply frame(int periodic, const double cell[9], const std::vector<int64_t> &tags,
              const std::vector<int32_t> &types, const std::vector<int32_t> &selected,
              const std::vector<double> &positions, const std::vector<double> &radii);    // no radii: empty

 private:
  int socket = -1;
  pid_t child = -1;
  int timeout;
  std::string peer;

  void prepare();
  void send(const void *data, size_t bytes);
  void receive(void *data, size_t bytes);
  Reply reply();
  [[noreturn]] void fail(const std::string &what);
};

}    // namespace propensity

#endif
