#include "cli/command.h"

#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/config_file.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "cli/terminal_text.h"
#include "rpc/address.h"
#include "rpc/channel.h"

namespace farm {
namespace {

// The first that exists is read.
std::vector<std::string> ConfigFiles() {
  std::vector<std::string> files;
  const char* config_home = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  if (config_home != nullptr && config_home[0] == '/') {
    files.push_back(absl::StrCat(config_home, "/farm/config.yaml"));
  } else if (home != nullptr) {
    files.push_back(absl::StrCat(home, "/.config/farm/config.yaml"));
  }
  files.push_back("/etc/farm/config.yaml");
  return files;
}

// A setting that is wrong is a mistake of use; a file that can't be read is this machine's matter.
absl::Status AsSettingError(const absl::Status& status) {
  return absl::IsInvalidArgument(status) ? AsUsageError(status) : AsLocalError(status);
}

// With no TLS configured, the network beyond gets TLS all the same (rpc/channel.h).
bool IsLoopback(const std::string& farm) {
  const absl::StatusOr<Address> address = ParseAddress(farm);
  return address.ok() && address->reach == Address::Reach::kLoopback;
}

// Its worker would find out, too, but it says so in terms of system calls.
absl::Status CheckMayStart(LocalFarm& local) {
  if (geteuid() == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<FarmClient> running, local.IfRunning());
  if (running != nullptr) return absl::OkStatus();
  return absl::PermissionDeniedError(
      "the local farm needs root, for namespaces and overlay mounts: run the command with sudo, or "
      "name another farm by --farm");
}

}  // namespace

CommandContext::CommandContext(GlobalOptions global, std::ostream& out, std::ostream& err,
                               Clock& clock)
    : global_(std::move(global)), out_(out), err_(err), clock_(clock) {}

absl::StatusOr<v1::ClientConfig> CommandContext::LoadConfig() const {
  v1::ClientConfig config;
  std::string file = global_.config;
  for (const std::string& path : ConfigFiles()) {
    if (file.empty() && access(path.c_str(), F_OK) == 0) file = path;
  }
  if (!file.empty()) {
    RETURN_IF_ERROR(AsSettingError(LoadConfigFile(file, config)));
  }
  if (!config.farm().empty()) {
    const absl::Status address = Annotate(ParseAddress(config.farm()).status(), "farm");
    if (!address.ok()) return AsSettingError(AtItsField(address, file));
  }
  const char* address = std::getenv("FARM_ADDR");
  std::string other = global_.farm;
  if (other.empty() && address != nullptr) other = address;
  if (!other.empty() && other != config.farm()) {
    if (!config.farm().empty()) {
      config.clear_tls();
      config.clear_token_file();
    }
    config.set_farm(other);
  }
  if (!global_.token_file.empty()) config.set_token_file(global_.token_file);
  return config;
}

absl::StatusOr<v1::ClientConfig> CommandContext::EffectiveConfig() {
  ASSIGN_OR_RETURN(v1::ClientConfig config, LoadConfig());
  if (config.farm().empty()) {
    ASSIGN_OR_RETURN(const std::unique_ptr<LocalFarm> local, MakeLocalFarm());
    config.set_farm(local->address());
  }
  return config;
}

void CommandContext::SetNote(std::function<void(absl::string_view line)> note) {
  MutexLock lock(note_mu_);
  note_ = std::move(note);
}

void CommandContext::Note(absl::string_view line) {
  MutexLock lock(note_mu_);
  if (note_ != nullptr) return note_(line);
  err_ << "farm: " << HarmlessText(line) << std::endl;
}

absl::StatusOr<std::unique_ptr<LocalFarm>> CommandContext::MakeLocalFarm() {
  ASSIGN_OR_RETURN(LocalFarmOptions options, LocalFarmOptions::Default());
  return std::make_unique<LocalFarm>(
      std::move(options),
      [](const std::string& address) { return ConnectFarm(address, v1::TlsClientConfig(), ""); },
      [this](absl::string_view line) { Note(line); });
}

absl::StatusOr<FarmClient*> CommandContext::Farm() {
  if (client_ != nullptr) return client_.get();
  ASSIGN_OR_RETURN(const v1::ClientConfig config, LoadConfig());
  if (config.farm().empty()) {
    // The local farm asks for no token; that one is named which is not there is a mistake still.
    if (!config.token_file().empty()) {
      RETURN_IF_ERROR(AsSettingError(ReadTokenFile(config.token_file()).status()));
    }
    ASSIGN_OR_RETURN(std::unique_ptr<LocalFarm> local, MakeLocalFarm());
    RETURN_IF_ERROR(CheckMayStart(*local));
    worker_guard_.reset();
    ASSIGN_OR_RETURN(client_, local->Ensure());
    is_local_ = true;
    worker_guard_ = std::make_unique<LocalWorkerGuard>(std::move(local));
    return client_.get();
  }
  RETURN_IF_ERROR(AsSettingError(ParseAddress(config.farm()).status()));
  absl::string_view path = config.farm();
  if (absl::ConsumePrefix(&path, "unix:")) {
    const absl::Status probe = ProbeSocket(std::string(path));
    if (absl::IsNotFound(probe)) {
      return absl::UnavailableError(absl::StrCat("no farm listens at ", config.farm()));
    }
    RETURN_IF_ERROR(probe);
  }
  ASSIGN_OR_RETURN(client_, ConnectFarm(config.farm(), config.tls(), config.token_file()),
                   AsSettingError(_));
  const v1::TlsClientConfig& tls = config.tls();
  is_plain_tcp_ =
      tls.ca_file().empty() && tls.certificate_file().empty() && IsLoopback(config.farm());
  return client_.get();
}

bool CommandContext::ForgetLocalFarm() {
  if (is_local_) forgotten_.push_back(std::move(client_));
  return is_local_;
}

int CommandContext::Fail(const absl::Status& status) {
  out_.flush();
  err_ << ErrorText(status) << HintAt(status) << std::endl;
  return ExitCodeFor(status);
}

std::string CommandContext::HintAt(const absl::Status& status) const {
  // Who does not understand a greeting hangs up.
  const bool hung_up = absl::StrContains(status.message(), "Socket closed") ||
                       absl::StrContains(status.message(), "Connection reset");
  if (!is_plain_tcp_ || !absl::IsUnavailable(status) || !hung_up) return "";
  return "\nThe connection was tried without TLS. If the farm wants it, name its CA in the "
         "configuration\n(~/.config/farm/config.yaml): tls: {ca_file: FILE}";
}

std::string ErrorText(const absl::Status& status) {
  std::string source_line;
  const auto position = PositionOf(status, &source_line);
  std::string text =
      absl::StrCat("ERROR: ", HarmlessText({status.message().data(), status.message().size()}));
  if (position.has_value() && !source_line.empty()) {
    absl::StrAppend(&text, "\n  ", HarmlessLine(source_line, false));
    if (position->column > 0) {
      const size_t before = std::min<size_t>(position->column - 1, source_line.size());
      const size_t indent =
          DisplayWidth(HarmlessLine(absl::string_view(source_line).substr(0, before), false));
      absl::StrAppend(&text, "\n  ", std::string(indent, ' '), "^");
    }
  }
  return text;
}

}  // namespace farm
