// The command line as a whole: arguments in, exit code out.
#ifndef GRADWATCH_CLIENT_CLI_APP_H_
#define GRADWATCH_CLIENT_CLI_APP_H_

#include <functional>
#include <string>
#include <vector>

#include "client/cli/exit_code.h"
#include "client/cli/io.h"
#include "client/lib/cancellation.h"

namespace gradwatch::cli {

// Reads an environment variable; "" if it is unset.
using Environment = std::function<std::string(const std::string&)>;

// Parses `arguments` (without the program's name) and runs the command. `cancellation` ends it as Ctrl-C does.
ExitCode RunApp(const std::vector<std::string>& arguments, const Environment& environment, Io io,
                client::Cancellation* cancellation);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_APP_H_
