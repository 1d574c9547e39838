// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later

#include "link.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#ifndef PROPENSITY_PYTHON
#define PROPENSITY_PYTHON "python3"
#endif

using namespace propensity;

static constexpr uint32_t PROTOCOL = 2;

// The child must not take itself for a rank of this job.
static bool belongs_to_mpi(const char *entry)
{
  for (const char *prefix : {"PMI_", "PMIX_", "PMI2_", "OMPI_", "PRTE_", "MPI_LOCAL", "MPIR_", "HYDI_", "HYDRA_"})
    if (strncmp(entry, prefix, strlen(prefix)) == 0) return true;
  return false;
}

Link::~Link()
{
  if (socket >= 0) close(socket);
  if (child <= 0) return;
  for (int tenths = 0; tenths < 30; ++tenths) {    // it ends by itself when the socket closes
    if (waitpid(child, nullptr, WNOHANG) != 0) return;
    usleep(100000);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

void Link::start()
{
  const char *chosen = getenv("PROPENSITY_PYTHON");
  const std::string python = chosen && *chosen ? chosen : PROPENSITY_PYTHON;
  peer = "the propensity server (" + python + " -m lammps_bridge.serve)";

  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw std::runtime_error(std::string("socketpair: ") + strerror(errno));
  socket = ends[0];
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);

  const std::string descriptor = std::to_string(ends[1] == 3 ? 4 : 3);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], std::stoi(descriptor));
  posix_spawn_file_actions_adddup2(&actions, 2, 1);    // stdout of LAMMPS stays LAMMPS' own

  std::vector<char *> environment;
  for (char **entry = environ; *entry; ++entry)
    if (!belongs_to_mpi(*entry)) environment.push_back(*entry);
  environment.push_back(nullptr);

  std::vector<std::string> words = {python, "-m", "lammps_bridge.serve", "--descriptor", descriptor};
  std::vector<char *> arguments;
  for (auto &word : words) arguments.push_back(&word[0]);
  arguments.push_back(nullptr);

  const int status = posix_spawnp(&child, python.c_str(), &actions, nullptr, arguments.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (status != 0) {
    child = -1;
    throw std::runtime_error("can't start " + python + " (" + strerror(status) +
                             "): set the environment variable PROPENSITY_PYTHON to the Python where propensity is installed.");
  }
  prepare();
}

void Link::connect(const std::string &address)
{
  peer = "the propensity server at " + address;
  int status = -1;
  if (address.rfind("unix:", 0) == 0) {
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    if (address.size() - 5 >= sizeof(where.sun_path)) throw std::runtime_error("path of " + address + " is too long for a socket.");
    strcpy(where.sun_path, address.c_str() + 5);
    socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    status = ::connect(socket, reinterpret_cast<sockaddr *>(&where), sizeof(where));
  } else {
    const auto colon = address.rfind(':');
    if (colon == std::string::npos) throw std::runtime_error("server " + address + " is neither host:port nor unix:path.");
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    const int trouble = getaddrinfo(address.substr(0, colon).c_str(), address.substr(colon + 1).c_str(), &hints, &found);
    if (trouble != 0) throw std::runtime_error("can't find " + peer + " (" + gai_strerror(trouble) + ").");
    for (addrinfo *one = found; one && status != 0; one = one->ai_next) {
      if (socket >= 0) close(socket);
      socket = ::socket(one->ai_family, one->ai_socktype, one->ai_protocol);
      status = ::connect(socket, one->ai_addr, one->ai_addrlen);
    }
    freeaddrinfo(found);
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  }
  if (status != 0)
    throw std::runtime_error("can't reach " + peer + " (" + strerror(errno) + "): start it with `python -m lammps_bridge.serve --listen " +
                             address + "` or leave the server keyword out.");
  fcntl(socket, F_SETFD, FD_CLOEXEC);
  prepare();
}

void Link::prepare()
{
  timeval limit{};
  limit.tv_sec = timeout;
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
#ifdef SO_NOSIGPIPE
  const int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#endif
}

void Link::fail(const std::string &what)
{
  throw std::runtime_error(peer + " " + what);
}

void Link::send(const void *data, size_t bytes)
{
  auto here = static_cast<const char *>(data);
  while (bytes > 0) {
    const ssize_t n = ::send(socket, here, bytes, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) fail("took no data for " + std::to_string(timeout) + " s.");
    if (n <= 0) fail("died: see its message above or in its own terminal.");
    here += n;
    bytes -= n;
  }
}

void Link::receive(void *data, size_t bytes)
{
  auto here = static_cast<char *>(data);
  while (bytes > 0) {
    const ssize_t n = ::recv(socket, here, bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      fail("gave no answer for " + std::to_string(timeout) + " s: raise it with the timeout keyword.");
    if (n <= 0) fail("died: see its message above or in its own terminal.");
    here += n;
    bytes -= n;
  }
}

Reply Link::reply()
{
  struct {
    char magic[4];
    int32_t status;
    uint64_t text, values;
  } head;
  static_assert(sizeof(head) == 24, "layout of the protocol");
  receive(&head, sizeof(head));
  if (memcmp(head.magic, "PRPN", 4) != 0) fail("does not speak the protocol of fix propensity.");
  Reply answer;
  answer.note.resize(head.text);
  if (head.text) receive(&answer.note[0], head.text);
  answer.values.resize(head.values);
  if (head.values) receive(answer.values.data(), head.values * sizeof(double));
  if (head.status != 0) throw std::runtime_error(answer.note);
  return answer;
}

Reply Link::hello(const std::string &options)
{
  const uint32_t numbers[2] = {PROTOCOL, static_cast<uint32_t>(options.size())};
  send("PRPN", 4);
  send(numbers, sizeof(numbers));
  send(options.data(), options.size());
  return reply();
}

Reply Link::frame(int periodic, const double cell[9], const std::vector<int64_t> &tags, const std::vector<int32_t> &types,
                  const std::vector<int32_t> &selected, const std::vector<double> &positions, const std::vector<double> &radii)
{
  const int64_t numbers[2] = {periodic | (radii.empty() ? 0 : 8), static_cast<int64_t>(tags.size())};
  send("FRAM", 4);
  send(numbers, sizeof(numbers));
  send(cell, 9 * sizeof(double));
  send(tags.data(), tags.size() * sizeof(int64_t));
  send(types.data(), types.size() * sizeof(int32_t));
  send(selected.data(), selected.size() * sizeof(int32_t));
  send(positions.data(), positions.size() * sizeof(double));
  send(radii.data(), radii.size() * sizeof(double));
  return reply();
}
