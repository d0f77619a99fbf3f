defmodule DSPex.Table do
  @moduledoc """
  A table as an Arrow IPC stream, in bytes. Python has a `pyarrow.Table` in its place.
  """

  @enforce_keys [:ipc]
  defstruct [:ipc]

  @type t :: %__MODULE__{ipc: binary}

  @doc """
  Wraps the bytes of an Arrow IPC stream.

      iex> DSPex.Table.new(<<255, 255, 255, 255>>).ipc
      <<255, 255, 255, 255>>
  """
  @spec new(binary) :: t
  def new(ipc) when is_binary(ipc), do: %__MODULE__{ipc: ipc}

  defimpl Inspect do
    def inspect(table, _options), do: "#DSPex.Table<#{byte_size(table.ipc)} bytes>"
  end
end
