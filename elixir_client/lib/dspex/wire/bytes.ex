defmodule DSPex.Bytes do
  @moduledoc """
  A byte string, Python's `bytes`. A plain binary is text; one that is not UTF-8 is sent as bytes too.
  """

  @enforce_keys [:data]
  defstruct [:data]

  @type t :: %__MODULE__{data: binary}

  @doc """
  Marks a binary as bytes.

      iex> DSPex.Bytes.new(<<0, 255>>)
      %DSPex.Bytes{data: <<0, 255>>}
  """
  @spec new(binary) :: t
  def new(data) when is_binary(data), do: %__MODULE__{data: data}
end
