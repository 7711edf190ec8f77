// interrupt.h - Ctrl-C and SIGTERM end the budget, not the program: what has been found is still reported.
#pragma once

namespace nmrfuzz::fuzz {

// From here on the first such signal is remembered; a second ends the program at once.
void remember_interrupts();
bool interrupted();

}  // namespace nmrfuzz::fuzz
