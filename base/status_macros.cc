#include "base/status_macros.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace farm {
namespace {

absl::Status WithMessage(const absl::Status& status, absl::string_view message) {
  absl::Status out(status.code(), message);
  status.ForEachPayload(
      [&out](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
  return out;
}

}  // namespace

StatusBuilder::StatusBuilder(absl::Status status, const char* file, int line)
    : status_(std::move(status)) {
  absl::Cord trail = status_.GetPayload(kTrailPayload).value_or(absl::Cord());
  if (!trail.empty()) trail.Append(" ");
  trail.Append(absl::StrCat(file, ":", line));
  status_.SetPayload(kTrailPayload, std::move(trail));
}

StatusBuilder::operator absl::Status() const {
  const std::string context = context_.str();
  return context.empty() ? status_ : Annotate(status_, context);
}

std::string Trail(const absl::Status& status) {
  return std::string(status.GetPayload(kTrailPayload).value_or(absl::Cord()));
}

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  return WithMessage(status, absl::StrCat(context, ": ", status.message()));
}

absl::Status Extend(const absl::Status& status, absl::string_view more) {
  return WithMessage(status, absl::StrCat(status.message(), more));
}

}  // namespace farm
