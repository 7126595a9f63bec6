#ifndef FARM_BASE_ERRNO_STATUS_H_
#define FARM_BASE_ERRNO_STATUS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace farm {

// "what: strerror(error_number)", under the code that tells the caller what to do:
// ENOENT/ENODEV NOT_FOUND, EEXIST ALREADY_EXISTS, EACCES/EPERM PERMISSION_DENIED,
// ENOSPC/EDQUOT/EMFILE/ENFILE/ENOMEM RESOURCE_EXHAUSTED, EINTR/EAGAIN/EIO/network errors
// UNAVAILABLE, else INTERNAL.
absl::Status ErrnoStatus(int error_number, absl::string_view what);

}  // namespace farm

#endif  // FARM_BASE_ERRNO_STATUS_H_
