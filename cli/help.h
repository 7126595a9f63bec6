#ifndef FARM_CLI_HELP_H_
#define FARM_CLI_HELP_H_

#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace farm {

// The help page of a command: what it does, how it is called, its options, examples (its footer).
std::string HelpText(const CLI::App& command);

// What is wrong with a command line and what may have been meant. `app` is the whole program's.
std::string UsageErrorText(const CLI::App& app, const CLI::ParseError& error);

}  // namespace farm

#endif  // FARM_CLI_HELP_H_
