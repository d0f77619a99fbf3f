defmodule DSPex.Native.Signature do
  @moduledoc """
  The native side of signatures under its own name: what `DSPex.Signature` reads, and single types.

      iex> {:ok, signature} = DSPex.Native.Signature.parse("question -> answer: list[int]")
      iex> DSPex.Signature.to_string(signature)
      "question -> answer: list[int]"
  """

  alias DSPex.Native.Signature.Reader
  alias DSPex.Native.Signature.Type
  alias DSPex.SignatureError

  @doc "See `DSPex.Signature.parse/2`."
  @spec parse(String.t(), keyword) :: {:ok, DSPex.Signature.t()} | {:error, SignatureError.t()}
  defdelegate parse(text, options \\ []), to: DSPex.Signature

  @doc """
  Parses one type, as it stands after a field's name. The option `:types` is that of `parse/2`.

      iex> DSPex.Native.Signature.parse_type("Optional[list[str]]")
      {:ok, {:union, [{:list, [:str]}, :none]}}
  """
  @spec parse_type(String.t(), keyword) :: {:ok, Type.t()} | {:error, SignatureError.t()}
  defdelegate parse_type(text, options \\ []), to: Reader
end
