# cmake -DINPUT=FILE -DOUTPUT=FILE.cc -P embed_descriptors.cmake: the bytes of a file as alert_descriptors.h declares them.
file(READ ${INPUT} digits HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${digits}")
string(REGEX REPLACE "((0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,))" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"client/cli/alert_descriptors.h\"

namespace gradwatch::cli {

const unsigned char kAlertDescriptors[] = {
${bytes}};
const size_t kAlertDescriptorsSize = sizeof(kAlertDescriptors);

}  // namespace gradwatch::cli
")
