// The libraries that tunekit exports, for C++17: a model that closes itself, and errors as
// exceptions. Nothing is linked besides the library; one copy serves any number of them.
//
//     tunekit::Model model(NAME_api());
//     model.bind_input(0, image.data(), image.size());
//     model.run();
//     for (float score : model.output<float>(0)) std::cout << score << '\n';
#ifndef TUNEKIT_MODEL_HPP
#define TUNEKIT_MODEL_HPP

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../tunekit.h"

namespace tunekit {

// What a function of a library gave in place of TUNEKIT_OK, with its words.
class Error : public std::runtime_error {
 public:
  Error(int code, const std::string& what) : std::runtime_error(what), code_(code) {}
  int code() const noexcept { return code_; }  // TUNEKIT_...

 private:
  int code_;
};

// Elements that lie one after another, somewhere else.
template <class T>
class Span {
 public:
  Span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
  T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  T* begin() const noexcept { return data_; }
  T* end() const noexcept { return data_ + size_; }
  T& operator[](std::size_t index) const noexcept { return data_[index]; }

 private:
  T* data_;
  std::size_t size_;
};

// Whether a tensor's elements are a C++ type. Those that C++ has no type for (float16, bfloat16)
// are read and bound as void.
template <class T>
bool holds(const tunekit_tensor& tensor) noexcept {
  static_assert(std::is_arithmetic_v<T>, "elements are numbers or bool");
  constexpr int code = std::is_same_v<T, bool>       ? 6
                       : std::is_floating_point_v<T> ? 2
                       : std::is_unsigned_v<T>       ? 1
                                                     : 0;
  return tensor.code == code && tensor.bits == 8 * sizeof(T);
}

// An open model. It may move, and is for one thread at a time.
class Model {
 public:
  // Opens a library's model; every other function throws as this one does: Error, with the reason.
  explicit Model(const tunekit_api* api, const tunekit_options& options = {}) : api_(api) {
    if (api == nullptr || api->abi_version != TUNEKIT_ABI_VERSION) {
      throw Error(TUNEKIT_BAD_ARGUMENT, "the library is of another ABI version than the header");
    }
    if (const int code = api->open(&model_, &options)) throw Error(code, api->error(nullptr));
  }
  ~Model() { close(); }
  Model(Model&& other) noexcept : api_(other.api_), model_(std::exchange(other.model_, nullptr)) {}
  Model& operator=(Model&& other) noexcept {
    if (this != &other) {
      close();
      api_ = other.api_;
      model_ = std::exchange(other.model_, nullptr);
    }
    return *this;
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  std::int32_t inputs() const noexcept { return api_->inputs(model_); }
  std::int32_t outputs() const noexcept { return api_->outputs(model_); }
  std::int32_t threads() const noexcept { return api_->threads(model_); }

  // Name, type and sizes.
  const tunekit_tensor& describe_input(std::int32_t index) const {
    return found(api_->describe_input(model_, index), "input", index);
  }
  const tunekit_tensor& describe_output(std::int32_t index) const {
    return found(api_->describe_output(model_, index), "output", index);
  }

  // The axes of the inputs that have several sizes, and the size of each that is set. To set others
  // changes what the two above say, and what was bound at another size has to be bound again.
  std::int32_t axes() const noexcept { return has_axes() ? api_->axes(model_) : 0; }
  const tunekit_axis& describe_axis(std::int32_t index) const {
    return found(has_axes() ? api_->describe_axis(model_, index) : nullptr, "axis", index);
  }
  std::int64_t size(std::int32_t axis) const noexcept {
    return has_axes() ? api_->size(model_, axis) : 0;
  }
  void set_sizes(std::initializer_list<std::int64_t> sizes) {
    if (!has_axes()) throw Error(TUNEKIT_BAD_ARGUMENT, "the library is from before there were axes");
    must(api_->set_sizes(model_, sizes.begin(), static_cast<std::int32_t>(sizes.size())));
  }

  // Where run reads an input from, or writes an output to. The memory stays the caller's. From an
  // address that is a multiple of 64 nothing is copied.
  template <class T>
  void bind_input(std::int32_t index, const T* data, std::size_t elements) {
    of_type<T>(describe_input(index));
    bind_input(index, static_cast<const void*>(data), elements * sizeof(T));
  }
  void bind_input(std::int32_t index, const void* data, std::size_t bytes) {
    must(api_->bind_input(model_, index, data, bytes));
  }
  template <class T>
  void bind_output(std::int32_t index, T* data, std::size_t elements) {
    of_type<T>(describe_output(index));
    bind_output(index, static_cast<void*>(data), elements * sizeof(T));
  }
  void bind_output(std::int32_t index, void* data, std::size_t bytes) {
    must(api_->bind_output(model_, index, data, bytes));
  }

  void run() { must(api_->run(model_)); }

  // An output of the last run, where it lies.
  template <class T>
  Span<const T> output(std::int32_t index) const {
    const tunekit_tensor& tensor = describe_output(index);
    of_type<T>(tensor);
    return {static_cast<const T*>(output(index)), tensor.bytes / sizeof(T)};
  }
  const void* output(std::int32_t index) const noexcept { return api_->output(model_, index); }

  // One inference, and what each thread did in it.
  std::vector<tunekit_event> trace() {
    if (!has(offsetof(tunekit_api, trace))) {
      throw Error(TUNEKIT_BAD_ARGUMENT, "the library is from before inferences could be traced");
    }
    std::vector<tunekit_event> events(kEvents);
    for (;;) {
      std::int32_t count = 0;
      must(api_->trace(model_, events.data(), static_cast<std::int32_t>(events.size()), &count));
      const bool all = static_cast<std::size_t>(count) <= events.size();
      events.resize(static_cast<std::size_t>(count));
      if (all) return events;
    }
  }

  // Throws unless the model computes what it should.
  void self_test() { must(api_->self_test(model_)); }

  // For what C offers besides.
  tunekit_model* get() const noexcept { return model_; }

 private:
  void close() noexcept { api_->close(model_); }

  // Tables of older libraries are shorter.
  bool has(std::size_t member) const noexcept { return api_->struct_bytes > member; }
  bool has_axes() const noexcept { return has(offsetof(tunekit_api, size)); }

  void must(int code) const {
    if (code != TUNEKIT_OK) throw Error(code, api_->error(model_));
  }

  template <class T>
  static void of_type(const tunekit_tensor& tensor) {
    if (!holds<T>(tensor)) {
      throw Error(TUNEKIT_BAD_ARGUMENT,
                  std::string(tensor.name) + " holds elements of type " + tensor.dtype);
    }
  }

  template <class T>
  static const T& found(const T* described, const char* kind, std::int32_t index) {
    if (described == nullptr) {
      throw Error(TUNEKIT_BAD_ARGUMENT,
                  "the model has no " + std::string(kind) + " " + std::to_string(index));
    }
    return *described;
  }

  // Of a trace at first; there are more where kernels have many tasks.
  static constexpr std::size_t kEvents = 1024;

  const tunekit_api* api_;
  tunekit_model* model_ = nullptr;
};

}  // namespace tunekit
#endif
