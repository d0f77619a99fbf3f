defmodule DSPex.Native.Signature.Cache do
  @moduledoc """
  Parsed signatures by their text. They live in persistent terms, so that a lookup copies nothing (an ETS lookup would copy
  the whole structure). Terms are never erased, which would make the VM scan every process; the cache stops growing
  instead: at most #{512} texts of at most 4 KiB. What does not fit is parsed anew, in microseconds.
  """

  @capacity 512
  @max_bytes 4096

  @doc "The signature of a text, or `nil`."
  @spec fetch(String.t()) :: DSPex.Signature.t() | nil
  def fetch(text), do: :persistent_term.get({__MODULE__, text}, nil)

  @doc "Keeps a signature if there is room, and gives it back."
  @spec put(String.t(), DSPex.Signature.t()) :: DSPex.Signature.t()
  def put(text, signature) do
    # Two processes may take the same place twice; then the cache holds one fewer, never one more.
    if byte_size(text) <= @max_bytes and :counters.get(counter(), 1) < @capacity do
      :counters.add(counter(), 1, 1)
      if :counters.get(counter(), 1) <= @capacity, do: :persistent_term.put({__MODULE__, :binary.copy(text)}, signature)
    end

    signature
  end

  @doc "How many signatures it holds at most, and now."
  @spec info() :: %{capacity: pos_integer, size: non_neg_integer}
  def info, do: %{capacity: @capacity, size: min(@capacity, :counters.get(counter(), 1))}

  defp counter do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        :persistent_term.put(__MODULE__, :counters.new(1, []))
        :persistent_term.get(__MODULE__)

      counter ->
        counter
    end
  end
end
