defmodule DSPex.Native.Signature.Cache do
  @moduledoc """
  What is made of a signature once and used often: the parsed text, and the constant part of its prompts. It lives in
  persistent terms, so that a lookup copies nothing (an ETS lookup would copy the whole structure). Terms are never
  erased, which would make the VM scan every process; the cache stops growing instead, at 512 entries of each kind. What
  does not fit is made anew, in microseconds.
  """

  @capacity 512
  @max_bytes 65_536
  @kinds %{signature: 1, prompt: 2}

  @type kind :: :signature | :prompt

  @doc "The value of a key, or `nil`."
  @spec fetch(kind, term) :: term
  def fetch(kind, key), do: :persistent_term.get({__MODULE__, kind, key}, nil)

  @doc "Keeps a value if there is room, and gives it back."
  @spec put(kind, term, value) :: value when value: term
  def put(kind, key, value) do
    at = @kinds[kind]

    # Two processes may take a place for one key; then the cache holds one fewer, never one more.
    if :counters.get(counter(), at) < @capacity and :erlang.external_size({key, value}) <= @max_bytes do
      :counters.add(counter(), at, 1)
      if :counters.get(counter(), at) <= @capacity, do: :persistent_term.put({__MODULE__, kind, key}, value)
    end

    value
  end

  @doc "How many entries of a kind it holds at most, and now."
  @spec info(kind) :: %{capacity: pos_integer, size: non_neg_integer}
  def info(kind), do: %{capacity: @capacity, size: min(@capacity, :counters.get(counter(), @kinds[kind]))}

  defp counter do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        :persistent_term.put(__MODULE__, :counters.new(map_size(@kinds), []))
        :persistent_term.get(__MODULE__)

      counter ->
        counter
    end
  end
end
