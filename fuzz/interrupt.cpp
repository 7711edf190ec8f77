#include "fuzz/interrupt.h"

#include <signal.h>

namespace nmrfuzz::fuzz {

namespace {

volatile sig_atomic_t signalled = 0;

void on_interrupt(int) { signalled = 1; }

}  // namespace

void remember_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return signalled != 0; }

}  // namespace nmrfuzz::fuzz
