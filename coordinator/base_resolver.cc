#include "coordinator/base_resolver.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "oci/manifest.h"
#include "oci/reference.h"

namespace farm {
namespace {

absl::StatusOr<ResolvedBase> FromStore(FarmContext& farm, const std::string& domain,
                                       const Reference& reference) {
  ASSIGN_OR_RETURN(ImageStore::Stored stored,
                   farm.images.FindByReference(domain, reference.canonical()));
  ResolvedBase base;
  base.image = {.reference = reference.canonical(),
                .manifest = stored.manifest_digest,
                .config = std::move(stored.config)};
  base.manifest_bytes = std::move(stored.manifest_bytes);
  base.config_bytes = std::move(stored.config_bytes);
  base.repository = stored.record.repository();
  ASSIGN_OR_RETURN(base.layers,
                   Session::FindLayers(farm, domain, base.image.config.diff_ids,
                                       stored.manifest.layers, stored.record.repository()));
  return base;
}

absl::StatusOr<ResolvedBase> FromRegistry(FarmContext& farm, const std::string& domain,
                                          const Reference& reference, const Platform& platform,
                                          const RegistryCall& call) {
  ASSIGN_OR_RETURN(ResolvedImage resolved, farm.registry.Resolve(reference, platform, call));
  ASSIGN_OR_RETURN(const Manifest manifest,
                   ParseManifest(resolved.manifest.bytes, resolved.manifest.descriptor.media_type));
  ResolvedBase base;
  ASSIGN_OR_RETURN(base.image.config, ParseImageConfig(resolved.config_bytes));
  base.image.reference = resolved.pinned.canonical();
  base.image.manifest = resolved.manifest.descriptor.digest;
  base.repository = reference.repository();
  ASSIGN_OR_RETURN(base.layers, Session::FindLayers(farm, domain, base.image.config.diff_ids,
                                                    manifest.layers, base.repository));
  base.manifest_bytes = std::move(resolved.manifest.bytes);
  base.config_bytes = std::move(resolved.config_bytes);
  return base;
}

// An image that its registry does not have, or does not give to strangers: as a rule its name has a
// slip of the pen, or it was meant to be one of the farm's own.
bool MayBeMisspelt(const absl::Status& error) {
  return absl::IsNotFound(error) || absl::IsUnauthenticated(error) ||
         absl::IsPermissionDenied(error);
}

}  // namespace

RegistryAuth AuthOf(const std::vector<v1::RegistryCredential>& credentials) {
  RegistryAuth auth;
  for (const v1::RegistryCredential& credential : credentials) {
    auth.Set(credential.host(), {.username = credential.username(),
                                 .password = credential.password(),
                                 .identity_token = credential.identity_token()});
  }
  return auth;
}

absl::StatusOr<ResolvedBase> ResolveBase(FarmContext& farm, const std::string& domain,
                                         const std::string& reference, const v1::Platform& platform,
                                         bool pull, const RegistryCall& call) {
  ASSIGN_OR_RETURN(const Reference parsed, Reference::Parse(reference));
  const Reference wanted = parsed.WithDefaultTag();
  const Platform as_oci = Platform{.os = platform.os(),
                                   .architecture = platform.architecture(),
                                   .variant = platform.variant()}
                              .Normalized();
  std::string stored_only;  // what the farm has of that name
  if (!pull) {
    absl::StatusOr<ResolvedBase> stored = FromStore(farm, domain, wanted);
    if (stored.ok()) {
      const Platform stored_for = stored->image.config.platform.Normalized();
      if (PlatformMatches(as_oci, stored_for)) return stored;
      // Docker's builder, too, asks the registry then.
      stored_only =
          absl::StrCat("the farm has ", wanted.familiar(), " for ", stored_for.ToString(), " only");
      if (call.remark) {
        call.remark(
            absl::StrCat(stored_only, ": asking ", wanted.host(), " for ", as_oci.ToString()));
      }
    } else if (!absl::IsNotFound(stored.status())) {
      return stored.status();
    }
  }
  absl::StatusOr<ResolvedBase> base = FromRegistry(farm, domain, wanted, as_oci, call);
  if (!base.ok()) {
    if (!stored_only.empty()) return Extend(base.status(), absl::StrCat("; ", stored_only));
    if (!MayBeMisspelt(base.status())) return base.status();
    ASSIGN_OR_RETURN(const std::string near, farm.images.NearName(domain, wanted));
    if (near.empty()) return base.status();
    return Extend(base.status(), absl::StrCat(" (did you mean the farm's image ", near, "?)"));
  }
  if (!PlatformMatches(as_oci, base->image.config.platform.Normalized())) {
    return absl::InvalidArgumentError(absl::StrCat(wanted.familiar(), " is for ",
                                                   base->image.config.platform.ToString(),
                                                   ", not for ", as_oci.ToString()));
  }
  return base;
}

}  // namespace farm
