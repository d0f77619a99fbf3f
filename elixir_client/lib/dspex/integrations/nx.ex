if Code.ensure_loaded?(Nx) do
  defmodule DSPex.Integrations.Nx do
    @moduledoc """
    Nx's tensors in the inputs and outputs of programs. Inputs need nothing: an `Nx.Tensor` is sent as a `DSPex.Tensor`. What
    comes back is one, and becomes Nx's by `to_nx/1`.

        {:ok, prediction} = DSPex.call(program, %{vectors: Nx.tensor([[1.0, 2.0]])})
        DSPex.Integrations.Nx.to_nx(prediction["scores"])

    Names of axes are not kept; `bool` becomes `u8`. Complex numbers and types below a byte are refused.
    """

    @doc "Makes a `DSPex.Tensor` of Nx's; raises `ArgumentError` for a type that Python has none for."
    @spec from_nx(struct) :: DSPex.Tensor.t()
    def from_nx(tensor) do
      {kind, bits} = Nx.type(tensor)

      case DSPex.Tensor.new("#{kind}#{bits}", Tuple.to_list(Nx.shape(tensor)), Nx.to_binary(tensor)) do
        {:ok, tensor} -> tensor
        {:error, problem} -> raise ArgumentError, problem
      end
    end

    @types for dtype <- ~w(u8 u16 u32 u64 s8 s16 s32 s64 f16 bf16 f32 f64),
               [kind, bits] = Regex.run(~r/\A(\D+)(\d+)\z/, dtype, capture: :all_but_first),
               into: %{"bool" => {:u, 8}},
               do: {dtype, {String.to_atom(kind), String.to_integer(bits)}}

    @doc "Makes Nx's tensor of a `DSPex.Tensor`, on Nx's default backend."
    @spec to_nx(DSPex.Tensor.t()) :: struct
    def to_nx(%DSPex.Tensor{dtype: dtype, shape: shape, data: data}),
      do: data |> Nx.from_binary(Map.fetch!(@types, dtype)) |> Nx.reshape(List.to_tuple(shape))
  end

  defimpl DSPex.Value, for: Nx.Tensor do
    defdelegate to_value(tensor), to: DSPex.Integrations.Nx, as: :from_nx
  end
end
