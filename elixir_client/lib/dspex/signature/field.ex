defmodule DSPex.Signature.Field do
  @moduledoc """
  One field. `type` is a term of `DSPex.Native.Signature.Type`; `constraints` are `{name, value}` pairs
  (`{"ge", 0}`), `metadata` what `Annotated[…]` said, `default` is `:none` or `{:ok, value}`.

      iex> {:ok, signature} = DSPex.Signature.parse("question -> answer: int")
      iex> [%DSPex.Signature.Field{name: "answer", role: :output, type: type}] = signature.outputs
      iex> type
      :int
  """
  defstruct [:name, :role, :type, :prefix, :desc, typed?: true, constraints: [], metadata: [], default: :none]

  @type t :: %__MODULE__{
          name: String.t(),
          role: :input | :output,
          type: DSPex.Native.Signature.Type.t(),
          prefix: String.t(),
          desc: String.t(),
          typed?: boolean,
          constraints: [{String.t(), term}],
          metadata: [tuple],
          default: :none | {:ok, term}
        }
end
