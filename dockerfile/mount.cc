#include "dockerfile/mount.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/suggestion.h"

namespace farm {
namespace {

constexpr size_t kMountTextBytesMax = 4096;  // of an id or a target; paths are no longer
constexpr absl::string_view kTypeNames[] = {"bind", "cache", "tmpfs", "secret", "ssh"};
constexpr absl::string_view kSharingNames[] = {"shared", "private", "locked"};

const std::vector<std::string>& Keys() {
  static const auto* const keys = new std::vector<std::string>{
      "type",     "from", "source",    "src", "target", "dst", "destination",
      "readonly", "ro",   "readwrite", "rw",  "id",     "env", "sharing",
      "required", "size", "mode",      "uid", "gid"};
  return *keys;
}

std::string DidYouMean(absl::string_view typed, const std::vector<std::string>& candidates) {
  const std::string match = ClosestMatch(typed, candidates);
  return match.empty() ? "" : absl::StrCat(" (did you mean ", match, "?)");
}

// Fields of one CSV record: a field that begins with a quote may have commas and, doubled, quotes.
absl::StatusOr<std::vector<std::string>> SplitCsv(absl::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError("--mount is empty");
  std::vector<std::string> fields(1);
  while (true) {
    std::string& field = fields.back();
    if (absl::ConsumePrefix(&text, "\"")) {
      while (!text.empty() && (text[0] != '"' || text.substr(1, 1) == "\"")) {
        if (text[0] == '"') text.remove_prefix(1);
        field += text[0];
        text.remove_prefix(1);
      }
      if (!absl::ConsumePrefix(&text, "\"") || (!text.empty() && text[0] != ',')) {
        return absl::InvalidArgumentError("unbalanced quotes in --mount");
      }
    } else {
      const absl::string_view plain = text.substr(0, text.find(','));
      if (plain.find('"') != absl::string_view::npos) {
        return absl::InvalidArgumentError("quotes in --mount must enclose a whole field");
      }
      field = std::string(plain);
      text.remove_prefix(plain.size());
    }
    if (text.empty()) return fields;
    text.remove_prefix(1);
    fields.emplace_back();
  }
}

template <size_t N>
std::optional<size_t> FindName(const absl::string_view (&names)[N], absl::string_view name) {
  const auto* const found = std::find(std::begin(names), std::end(names), name);
  if (found == std::end(names)) return std::nullopt;
  return found - std::begin(names);
}

std::optional<bool> ParseBool(absl::string_view text) {
  for (const absl::string_view yes : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (text == yes) return true;
  }
  for (const absl::string_view no : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

std::optional<uint32_t> ParseUint32(absl::string_view text, int base) {
  if (text.empty()) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c >= '0' + base) return std::nullopt;
    value = value * base + (c - '0');
    if (value > UINT32_MAX) return std::nullopt;
  }
  return static_cast<uint32_t>(value);
}

// Sets one field at a time, in order: `required` and `size` look at the type that is set so far.
class MountParser {
 public:
  explicit MountParser(const WordExpansion& expand) : expand_(expand) {}

  absl::StatusOr<Mount> Parse(absl::string_view text) {
    ASSIGN_OR_RETURN(const std::vector<std::string> fields, SplitCsv(text));
    for (const std::string& field : fields) RETURN_IF_ERROR(ParseField(field));
    RETURN_IF_ERROR(Check());
    mount_.read_only = read_only_.value_or(mount_.type != Mount::Type::kCache &&
                                           mount_.type != Mount::Type::kTmpfs);
    return std::move(mount_);
  }

 private:
  absl::Status ParseField(const std::string& field) {
    const size_t equals = field.find('=');
    const std::string key = absl::AsciiStrToLower(field.substr(0, equals));
    if (equals == std::string::npos) return ParseBareKey(key, field);
    std::string value = field.substr(equals + 1);
    if (key == "from") {
      if (const size_t dollar = value.find('$');
          dollar != std::string::npos && dollar + 1 < value.size()) {
        return absl::InvalidArgumentError(
            "'from' doesn't support variable expansion, define alias stage instead");
      }
    } else if (expand_ != nullptr) {
      ASSIGN_OR_RETURN(value, expand_(value));
    }
    return Set(key, value, field);
  }

  absl::Status ParseBareKey(const std::string& key, const std::string& field) {
    if (key == "readonly" || key == "ro") {
      read_only_ = true;
    } else if (key == "readwrite" || key == "rw") {
      read_only_ = false;
    } else if (key == "required") {
      return SetRequired(true);
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid field '", field, "' must be a key=value pair"));
    }
    return absl::OkStatus();
  }

  absl::Status Set(const std::string& key, const std::string& value, const std::string& field) {
    if (key == "type") return SetType(value);
    if (key == "from") return Assign(mount_.from, value);
    if (key == "source" || key == "src") return Assign(mount_.source, value);
    if (key == "target" || key == "dst" || key == "destination") {
      return Assign(mount_.target, value);
    }
    if (key == "id") return Assign(mount_.id, value);
    if (key == "sharing") return SetSharing(value);
    if (key == "size") return SetSize(value);
    if (key == "mode") return SetNumber(key, value, 8, mount_.mode);
    if (key == "uid") return SetNumber(key, value, 10, mount_.uid);
    if (key == "gid") return SetNumber(key, value, 10, mount_.gid);
    if (key == "env") {
      mount_.env = value;
      return absl::OkStatus();
    }
    const bool reads = key == "readonly" || key == "ro";
    if (reads || key == "readwrite" || key == "rw" || key == "required") {
      const std::optional<bool> yes = ParseBool(value);
      if (!yes.has_value()) return InvalidValue(key, value);
      if (key == "required") return SetRequired(*yes);
      read_only_ = reads == *yes;
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected key '", key, "' in '", field, "'", DidYouMean(key, Keys())));
  }

  absl::Status SetType(const std::string& value) {
    const std::optional<size_t> type = FindName(kTypeNames, absl::AsciiStrToLower(value));
    if (!type.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("unsupported mount type \"", value, "\"",
                       DidYouMean(value, {std::begin(kTypeNames), std::end(kTypeNames)})));
    }
    mount_.type = static_cast<Mount::Type>(*type);
    return absl::OkStatus();
  }

  absl::Status SetSharing(const std::string& value) {
    const std::optional<size_t> mode = FindName(kSharingNames, absl::AsciiStrToLower(value));
    if (!mode.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("unsupported sharing value \"", value, "\"",
                       DidYouMean(value, {std::begin(kSharingNames), std::end(kSharingNames)})));
    }
    mount_.sharing = static_cast<Mount::Sharing>(*mode);
    return absl::OkStatus();
  }

  absl::Status SetRequired(bool required) {
    if (mount_.type != Mount::Type::kSecret && mount_.type != Mount::Type::kSsh) {
      return UnexpectedKey("required");
    }
    mount_.required = required;
    return absl::OkStatus();
  }

  absl::Status SetSize(const std::string& value) {
    if (mount_.type != Mount::Type::kTmpfs) return UnexpectedKey("size");
    mount_.size_bytes = ParseRamBytes(value);
    return mount_.size_bytes.has_value() ? absl::OkStatus() : InvalidValue("size", value);
  }

  absl::Status SetNumber(const std::string& key, const std::string& value, int base,
                         std::optional<uint32_t>& out) {
    out = ParseUint32(value, base);
    return out.has_value() ? absl::OkStatus() : InvalidValue(key, value);
  }

  static absl::Status Assign(std::string& out, const std::string& value) {
    out = value;
    return absl::OkStatus();
  }

  // What can be said only when all fields are known.
  absl::Status Check() const {
    for (const auto& [key, value] :
         {std::pair("id", &mount_.id), std::pair("target", &mount_.target)}) {
      if (value->size() > kMountTextBytesMax) {
        return absl::InvalidArgumentError(
            absl::StrCat(key, " of a mount has more than ", kMountTextBytesMax, " bytes"));
      }
    }
    if (mount_.type == Mount::Type::kBind || mount_.type == Mount::Type::kTmpfs) {
      if (mount_.mode.has_value()) return NotAllowed("mode");
      if (mount_.uid.has_value()) return NotAllowed("uid");
      if (mount_.gid.has_value()) return NotAllowed("gid");
    }
    if (mount_.sharing.has_value() && mount_.type != Mount::Type::kCache) {
      return NotAllowed("sharing");
    }
    if (mount_.type != Mount::Type::kSecret) return absl::OkStatus();
    if (!mount_.from.empty()) return NotAllowed("from");
    if (mount_.source.empty() && mount_.target.empty() && mount_.id.empty()) {
      return absl::InvalidArgumentError("invalid secret mount: one of id, source, target required");
    }
    if (!mount_.source.empty() && !mount_.id.empty()) {
      return absl::InvalidArgumentError("secret mount: both source and id can't be set");
    }
    return absl::OkStatus();
  }

  static absl::Status InvalidValue(absl::string_view key, absl::string_view value) {
    return absl::InvalidArgumentError(absl::StrCat("invalid value for ", key, ": ", value));
  }
  absl::Status UnexpectedKey(absl::string_view key) const {
    return absl::InvalidArgumentError(absl::StrCat("unexpected key '", key, "' for mount type '",
                                                   MountTypeName(mount_.type), "'"));
  }
  absl::Status NotAllowed(absl::string_view key) const {
    return absl::InvalidArgumentError(
        absl::StrCat(key, " not allowed for ", MountTypeName(mount_.type), " mounts"));
  }

  const WordExpansion& expand_;
  Mount mount_;
  std::optional<bool> read_only_;
};

}  // namespace

std::optional<int64_t> ParseRamBytes(absl::string_view text) {
  const size_t digits = text.find_first_not_of("0123456789.");
  double value = 0;
  if (digits == 0 || !absl::SimpleAtod(text.substr(0, digits), &value)) return std::nullopt;
  std::string unit =
      digits == absl::string_view::npos
          ? ""
          : absl::AsciiStrToLower(absl::StripLeadingAsciiWhitespace(text.substr(digits)));
  absl::string_view rest = unit;
  constexpr absl::string_view kUnits = "kmgtp";
  if (const size_t power = rest.empty() ? absl::string_view::npos : kUnits.find(rest[0]);
      power != absl::string_view::npos) {
    for (size_t i = 0; i <= power; ++i) value *= 1024;
    rest.remove_prefix(1);
    absl::ConsumePrefix(&rest, "i");
  }
  absl::ConsumePrefix(&rest, "b");
  if (!rest.empty() || value >= 9e18) return std::nullopt;
  return static_cast<int64_t>(value);
}

absl::string_view MountTypeName(Mount::Type type) { return kTypeNames[static_cast<int>(type)]; }

absl::StatusOr<Mount> ParseMount(absl::string_view text, const SourcePosition& position,
                                 const WordExpansion& expand) {
  absl::StatusOr<Mount> mount = MountParser(expand).Parse(text);
  if (!mount.ok()) return ErrorAt(position, mount.status().message());
  return mount;
}

absl::StatusOr<std::string> MountSource(absl::string_view text, const SourcePosition& position) {
  const absl::StatusOr<std::vector<std::string>> fields = SplitCsv(text);
  if (!fields.ok()) return ErrorAt(position, fields.status().message());
  std::string from;
  bool reads = true;
  for (absl::string_view field : *fields) {
    const size_t equals = std::min(field.find('='), field.size());
    const std::string key = absl::AsciiStrToLower(field.substr(0, equals));
    const absl::string_view value = absl::StripPrefix(field.substr(equals), "=");
    if (key == "from") from = std::string(value);
    if (key == "type") reads = !absl::EqualsIgnoreCase(value, MountTypeName(Mount::Type::kTmpfs));
  }
  return reads ? from : "";
}

}  // namespace farm
