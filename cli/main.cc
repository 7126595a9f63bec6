// The `farm` program: see cli/program.h.
#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/program.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  // A reader that goes away (`farm images | head`) is an error of the write.
  signal(SIGPIPE, SIG_IGN);
  farm::SystemClock clock;
  const int code = farm::RunProgram(std::vector<std::string>(argv + 1, argv + argc), std::cout,
                                    std::cerr, clock);
  return farm::FinishOutput(std::cout, std::cerr, code);
}
