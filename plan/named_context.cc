#include "plan/named_context.h"

#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "oci/reference.h"

namespace farm {

absl::StatusOr<std::string> ContextName(absl::string_view name) {
  ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(name),
                   _ << "invalid context name \"" << name << "\"");
  return std::string(absl::StripSuffix(reference.familiar(), ":latest"));
}

}  // namespace farm
