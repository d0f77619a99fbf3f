defmodule DSPex.Ordered do
  @moduledoc """
  A map that keeps its order, as Python's `dict` does. DSPy prints dicts in the order of insertion, so the order of
  fields, demos and schemas reaches the prompt. Keys are text (atoms are accepted when sending).

      iex> ordered = DSPex.Ordered.new([{"b", 1}, {"a", 2}])
      iex> {ordered["a"], DSPex.Ordered.keys(ordered)}
      {2, ["b", "a"]}
  """

  @behaviour Access

  defstruct pairs: []

  @type key :: String.t() | atom
  @type t :: %__MODULE__{pairs: [{key, term}]}

  @doc "Makes one from `{key, value}` pairs."
  @spec new([{key, term}]) :: t
  def new(pairs) when is_list(pairs), do: %__MODULE__{pairs: pairs}

  @doc "The keys in order."
  @spec keys(t) :: [key]
  def keys(%__MODULE__{pairs: pairs}), do: Enum.map(pairs, &elem(&1, 0))

  @doc """
  A plain map of it; `deep: true` also turns the ones inside, in lists, maps and tuples.

      iex> DSPex.Ordered.to_map(DSPex.Ordered.new([{"a", [DSPex.Ordered.new([{"b", 1}])]}]), deep: true)
      %{"a" => [%{"b" => 1}]}
  """
  @spec to_map(t, keyword) :: map
  def to_map(%__MODULE__{pairs: pairs}, options \\ []) do
    if options[:deep], do: Map.new(pairs, fn {key, value} -> {key, plain(value)} end), else: Map.new(pairs)
  end

  @doc "Any value with the ordered maps in it made plain."
  @spec plain(term) :: term
  def plain(%__MODULE__{} = ordered), do: to_map(ordered, deep: true)
  def plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  def plain(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> Enum.map(&plain/1) |> List.to_tuple()
  def plain(%{__struct__: _module} = struct), do: struct
  def plain(%{} = map), do: Map.new(map, fn {key, value} -> {key, plain(value)} end)
  def plain(value), do: value

  @impl Access
  def fetch(%__MODULE__{pairs: pairs}, key) do
    case List.keyfind(pairs, key, 0) do
      {^key, value} -> {:ok, value}
      nil -> :error
    end
  end

  @impl Access
  def get_and_update(%__MODULE__{pairs: pairs} = ordered, key, function) do
    current = ordered[key]

    case function.(current) do
      {got, value} -> {got, %{ordered | pairs: List.keystore(pairs, key, 0, {key, value})}}
      :pop -> pop(ordered, key)
    end
  end

  @impl Access
  def pop(%__MODULE__{pairs: pairs} = ordered, key) do
    case List.keytake(pairs, key, 0) do
      {{^key, value}, rest} -> {value, %{ordered | pairs: rest}}
      nil -> {nil, ordered}
    end
  end

  defimpl Enumerable do
    def count(%{pairs: pairs}), do: {:ok, length(pairs)}
    def member?(%{pairs: pairs}, pair), do: {:ok, pair in pairs}
    def slice(_ordered), do: {:error, __MODULE__}
    def reduce(%{pairs: pairs}, acc, function), do: Enumerable.List.reduce(pairs, acc, function)
  end
end
