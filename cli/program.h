#ifndef FARM_CLI_PROGRAM_H_
#define FARM_CLI_PROGRAM_H_

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/farm_client.h"

namespace farm {

// Runs `farm` with these arguments (the program's name not among them) and returns the exit status.
// `client`, if not null, is the farm in place of the one that flags and environment name.
int RunProgram(const std::vector<std::string>& args, std::ostream& out, std::ostream& err,
               Clock& clock, std::unique_ptr<FarmClient> client = nullptr);

// The last thing: flushes `out`. The exit status, which is that of a failure if some of the output
// could not be written, though the command itself was `code` kExitDone.
int FinishOutput(std::ostream& out, std::ostream& err, int code);

}  // namespace farm

#endif  // FARM_CLI_PROGRAM_H_
