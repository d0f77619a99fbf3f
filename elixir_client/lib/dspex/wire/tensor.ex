defmodule DSPex.Tensor do
  @moduledoc """
  A tensor: dtype, shape, and the data in row-major order, little-endian. Python has a `numpy.ndarray` in its place.

  dtypes: `u8 u16 u32 u64 s8 s16 s32 s64 f16 bf16 f32 f64 bool` (Nx's short names; `bool` is one byte an element).
  """

  @enforce_keys [:dtype, :shape, :data]
  defstruct [:dtype, :shape, :data]

  @type t :: %__MODULE__{dtype: String.t(), shape: [non_neg_integer], data: binary}

  @sizes %{"u8" => 1, "u16" => 2, "u32" => 4, "u64" => 8, "s8" => 1, "s16" => 2, "s32" => 4, "s64" => 8}
         |> Map.merge(%{"f16" => 2, "bf16" => 2, "f32" => 4, "f64" => 8, "bool" => 1})

  @dimensions 64
  @size 0xFFFFFFFFFFFFFFFF

  @doc """
  Makes a tensor; tells what is wrong with it otherwise.

      iex> {:ok, tensor} = DSPex.Tensor.new("u8", [2, 2], <<1, 2, 3, 4>>)
      iex> tensor.shape
      [2, 2]
      iex> DSPex.Tensor.new("f32", [2], <<0>>)
      {:error, "a tensor of f32 [2] has 8 bytes of data, not 1"}
  """
  @spec new(term, term, term) :: {:ok, t} | {:error, String.t()}
  def new(dtype, shape, data) do
    with {:ok, size} <- element(dtype), :ok <- shape(shape), :ok <- data(data, dtype, shape, size) do
      {:ok, %__MODULE__{dtype: dtype, shape: shape, data: data}}
    end
  end

  @doc """
  A tensor of little-endian floats or integers from a flat list.

      iex> DSPex.Tensor.from_list("f32", [2], [1.0, 2.0]).data
      <<1.0::float-32-little, 2.0::float-32-little>>
  """
  @spec from_list(String.t(), [non_neg_integer], [number]) :: t
  def from_list(dtype, shape, numbers) do
    case new(dtype, shape, for(number <- numbers, into: "", do: pack(dtype, number))) do
      {:ok, tensor} -> tensor
      {:error, problem} -> raise ArgumentError, problem
    end
  end

  defp pack("f64", number), do: <<number::float-64-little>>
  defp pack("f32", number), do: <<number::float-32-little>>
  defp pack("f16", number), do: <<number::float-16-little>>
  defp pack(<<sign, bits::binary>>, number) when sign in [?u, ?s], do: <<number::little-size(String.to_integer(bits))>>

  defp element(dtype) do
    case @sizes do
      %{^dtype => size} -> {:ok, size}
      _sizes -> {:error, "#{inspect(dtype)} is no dtype; known are #{Enum.join(Enum.sort(Map.keys(@sizes)), ", ")}"}
    end
  end

  # The bounds keep the product of a hostile shape from growing for minutes.
  defp shape(shape) do
    if is_list(shape) and length(shape) <= @dimensions and Enum.all?(shape, &(is_integer(&1) and &1 in 0..@size)),
      do: :ok,
      else: {:error, "the shape of a tensor is a list of up to #{@dimensions} integers from 0, not #{show(shape)}"}
  end

  defp data(data, dtype, shape, size) do
    expected = Enum.product(shape) * size

    if is_binary(data) and byte_size(data) == expected,
      do: :ok,
      else: {:error, "a tensor of #{dtype} #{show(shape)} has #{expected} bytes of data, not #{length_of(data)}"}
  end

  defp show(shape), do: inspect(shape, charlists: :as_lists, limit: 16, printable_limit: 64)

  defp length_of(data) when is_binary(data), do: byte_size(data)
  defp length_of(data), do: inspect(data)

  defimpl Inspect do
    def inspect(tensor, _options),
      do: "#DSPex.Tensor<#{tensor.dtype} #{Kernel.inspect(tensor.shape, charlists: :as_lists)}>"
  end
end
