// How a layer's tar says that something below is gone (OCI image-spec, layer.md, "Whiteouts").
#ifndef FARM_LAYER_WHITEOUT_H_
#define FARM_LAYER_WHITEOUT_H_

namespace farm {

// A file ".wh.NAME" deletes NAME beside it...
inline constexpr char kWhiteoutPrefix[] = ".wh.";
// ...and this one all that is below in its directory.
inline constexpr char kOpaqueWhiteout[] = ".wh..wh..opq";
// Other names that begin so are aufs' own and of no meaning.
inline constexpr char kAufsPrefix[] = ".wh..wh.";

}  // namespace farm

#endif  // FARM_LAYER_WHITEOUT_H_
