defmodule DSPex.Native.JsonSchema.Index do
  @moduledoc """
  Where everything in a set of schema documents is: resources by URI, anchors, dynamic anchors, and the base URI of each
  subschema. A location is `{document, tokens}`: the document's number and the path from its root.
  """

  @default_base "dspex:///schema"

  @enforce_keys [:documents]
  defstruct documents: %{}, resources: %{}, anchors: %{}, dynamic: %{}, bases: %{}

  @type location :: {non_neg_integer, [String.t() | non_neg_integer]}
  @type t :: %__MODULE__{
          documents: %{non_neg_integer => term},
          resources: %{String.t() => location},
          anchors: %{{String.t(), String.t()} => location},
          dynamic: %{{String.t(), String.t()} => location},
          bases: %{location => String.t()}
        }

  @one ~w(additionalProperties propertyNames items contains not if then else unevaluatedItems unevaluatedProperties contentSchema)
  @many ~w(allOf anyOf oneOf prefixItems)
  @named ~w(properties patternProperties dependentSchemas $defs definitions)

  @doc "Indexes documents; the first is the schema itself, whose base URI is a private one unless it has an `$id`."
  @spec build([map | boolean]) :: t
  def build(documents) do
    numbered = Enum.with_index(documents)
    index = %__MODULE__{documents: Map.new(numbered, fn {document, number} -> {number, document} end)}

    Enum.reduce(numbered, index, fn {document, number}, index ->
      base = if number == 0, do: @default_base, else: "#{@default_base}/#{number}"
      index = put_in(index.resources[base], {number, []})
      walk(index, document, number, [], base)
    end)
  end

  @doc "Resolves a reference against a base URI, to the URI without its fragment, and the fragment (decoded) or `nil`."
  @spec resolve_uri(String.t(), String.t()) :: {:ok, String.t(), String.t() | nil} | :error
  def resolve_uri(base, reference) do
    {uri, fragment} = split(reference)

    cond do
      uri == "" -> {:ok, base, fragment}
      absolute = absolute(base, uri) -> {:ok, absolute, fragment}
      true -> :error
    end
  end

  @doc "Finds the value at a location."
  @spec fetch(t, location) :: {:ok, term} | :error
  def fetch(index, {number, tokens}), do: dig(Map.fetch!(index.documents, number), tokens)

  @doc "The base URI at a location: its own, or that of the nearest location above it."
  @spec base(t, location) :: String.t()
  def base(index, {number, tokens} = location) do
    case index.bases do
      %{^location => base} -> base
      _bases -> base(index, {number, Enum.drop(tokens, -1)})
    end
  end

  @doc "Follows a JSON pointer from a location."
  @spec pointer(t, location, String.t()) :: {:ok, location} | :error
  def pointer(index, {number, tokens} = from, "/" <> pointer) do
    with {:ok, value} <- fetch(index, from),
         {:ok, path} <- path(value, String.split(pointer, "/")) do
      {:ok, {number, tokens ++ path}}
    end
  end

  defp walk(index, schema, number, tokens, base) when is_map(schema) do
    {index, base} = identify(index, schema, {number, tokens}, base)

    index
    |> put_anchor(schema["$anchor"], base, {number, tokens}, [:anchors])
    |> put_anchor(schema["$dynamicAnchor"], base, {number, tokens}, [:anchors, :dynamic])
    |> Map.update!(:bases, &Map.put(&1, {number, tokens}, base))
    |> walk_children(schema, number, tokens, base)
  end

  defp walk(index, _boolean, number, tokens, base) do
    %{index | bases: Map.put(index.bases, {number, tokens}, base)}
  end

  defp walk_children(index, schema, number, tokens, base) do
    Enum.reduce(schema, index, fn {keyword, value}, index ->
      keyword
      |> children(value)
      |> Enum.reduce(index, fn {path, child}, index -> walk(index, child, number, tokens ++ path, base) end)
    end)
  end

  defp children(keyword, value) when keyword in @one, do: [{[keyword], value}]

  defp children(keyword, values) when keyword in @many and is_list(values) do
    for {value, place} <- Enum.with_index(values), do: {[keyword, place], value}
  end

  defp children(keyword, values) when keyword in @named and is_map(values) do
    for {name, value} <- values, do: {[keyword, name], value}
  end

  defp children(_keyword, _value), do: []

  defp identify(index, %{"$id" => id}, location, base) when is_binary(id) do
    case resolve_uri(base, id) do
      {:ok, uri, _fragment} -> {put_in(index.resources[uri], location), uri}
      :error -> {index, base}
    end
  end

  defp identify(index, _schema, _location, base), do: {index, base}

  defp put_anchor(index, name, base, location, tables) when is_binary(name) do
    Enum.reduce(tables, index, fn table, index ->
      Map.update!(index, table, &Map.put(&1, {base, name}, location))
    end)
  end

  defp put_anchor(index, _name, _base, _location, _tables), do: index

  defp split(reference) do
    case String.split(reference, "#", parts: 2) do
      [uri] -> {uri, nil}
      [uri, ""] -> {uri, nil}
      [uri, fragment] -> {uri, URI.decode(fragment)}
    end
  end

  defp absolute(base, uri) do
    case :uri_string.resolve(uri, base) do
      resolved when is_binary(resolved) -> resolved
      {:error, _what, _where} -> nil
    end
  end

  defp dig(value, []), do: {:ok, value}
  defp dig(%{} = map, [key | rest]) when is_map_key(map, key), do: dig(Map.fetch!(map, key), rest)

  defp dig(list, [place | rest]) when is_list(list) and is_integer(place) do
    with {:ok, value} <- Enum.fetch(list, place), do: dig(value, rest)
  end

  defp dig(_value, _tokens), do: :error

  defp path(_value, []), do: {:ok, []}

  defp path(value, [token | rest]) do
    key = token |> String.replace("~1", "/") |> String.replace("~0", "~") |> key_of(value)

    with {:ok, child} <- dig(value, [key]),
         {:ok, path} <- path(child, rest) do
      {:ok, [key | path]}
    end
  end

  defp key_of(token, value) when is_list(value) do
    case Integer.parse(token) do
      {place, ""} when place >= 0 -> place
      _other -> token
    end
  end

  defp key_of(token, _value), do: token
end
