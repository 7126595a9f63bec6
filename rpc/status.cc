#include "rpc/status.h"

#include <grpcpp/support/status.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "base/retried_error.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "rpc/wire_status.pb.h"

namespace farm {
namespace {

// Together they stay below kMetadataBytesMax (rpc/channel.h), percent-encoding included.
constexpr size_t kMessageBytesMax = 8 << 10;
constexpr size_t kTrailBytesMax = 2 << 10;
constexpr size_t kSourceLineBytesMax = 1 << 10;

// Cuts between characters: what is behind must still be UTF-8 for protobuf.
std::string Cut(absl::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return std::string(text);
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "…";
}

// File names and Dockerfiles need not be UTF-8.
std::string Text(absl::string_view text, size_t bytes_max) {
  return ReplaceInvalidUtf8(Cut(text, bytes_max));
}

absl::Status Restore(absl::StatusCode code, absl::string_view message,
                     const v1::ErrorDetail& detail) {
  absl::Status status(code, message);
  if (detail.line() > 0 || !detail.file().empty()) {
    const absl::Status at =
        ErrorAt({detail.file(), detail.line(), detail.column()}, "", detail.source_line());
    at.ForEachPayload([&status](absl::string_view url, const absl::Cord& payload) {
      status.SetPayload(url, payload);
    });
  }
  if (detail.retried()) status = AsRetried(std::move(status));
  if (!detail.trail().empty()) status.SetPayload(kTrailPayload, absl::Cord(detail.trail()));
  return status;
}

}  // namespace

v1::ErrorDetail ToErrorDetail(const absl::Status& status) {
  v1::ErrorDetail detail;
  detail.set_code(static_cast<int>(status.code()));
  detail.set_message(Text(status.message(), kMessageBytesMax));
  detail.set_trail(Text(Trail(status), kTrailBytesMax));
  detail.set_retried(WasRetried(status));
  std::string source_line;
  if (const std::optional<SourcePosition> position = PositionOf(status, &source_line)) {
    detail.set_file(Text(position->file, kSourceLineBytesMax));
    detail.set_line(position->line);
    detail.set_column(position->column);
    detail.set_source_line(Text(source_line, kSourceLineBytesMax));
  }
  return detail;
}

absl::Status FromErrorDetail(const v1::ErrorDetail& detail) {
  // An unknown code must not pass for OK.
  const bool known = detail.code() >= 0 && detail.code() <= 16;
  return Restore(known ? static_cast<absl::StatusCode>(detail.code()) : absl::StatusCode::kUnknown,
                 detail.message(), detail);
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  v1::ErrorDetail detail = ToErrorDetail(status);
  v1::WireStatus wire;
  wire.set_code(detail.code());
  // gRPC sends the message itself: twice would be too much for metadata.
  const std::string message = std::move(*detail.mutable_message());
  detail.clear_message();
  wire.add_details()->PackFrom(detail);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message,
                      wire.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  v1::ErrorDetail detail;
  if (v1::WireStatus wire; wire.ParseFromString(status.error_details())) {
    for (const auto& any : wire.details()) {
      if (any.Is<v1::ErrorDetail>() && any.UnpackTo(&detail)) break;
    }
  }
  absl::StatusCode code = static_cast<absl::StatusCode>(status.error_code());
  // A server that shuts down cancels the calls that it has not begun; ours says why itself.
  if (code == absl::StatusCode::kCancelled && status.error_details().empty()) {
    code = absl::StatusCode::kUnavailable;
  }
  return Restore(code, status.error_message(), detail);
}

}  // namespace farm
