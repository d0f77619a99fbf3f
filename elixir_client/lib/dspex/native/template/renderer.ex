defmodule DSPex.Native.Template.Renderer do
  @moduledoc """
  Fills a parsed template. `scope` is the stack of values in which names are looked up, the innermost first.
  """

  alias DSPex.Error

  @max_bytes 8_388_608
  # Nested sections over long lists can take for ever without writing a byte.
  @max_items 1_000_000

  @doc "Renders nodes; stops at `options[:max_bytes]`."
  @spec render([DSPex.Native.Template.Parser.tree()], term, keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def render(nodes, values, options) do
    max = Keyword.get(options, :max_bytes, @max_bytes)
    {parts, _size, _items} = Enum.reduce(nodes, {[], 0, 0}, &put(&1, [values], max, &2))
    {:ok, parts |> Enum.reverse() |> IO.iodata_to_binary()}
  catch
    {:template, error} -> {:error, error}
  end

  @doc "Whether a dotted name has a value."
  @spec present?(String.t(), term) :: boolean
  def present?(name, values), do: match?({:ok, _value}, look_up(String.split(name, "."), [values]))

  defp put(text, _scope, max, done) when is_binary(text), do: add(text, max, done)
  defp put({:value, path, filters, _place}, scope, max, done), do: path |> value(filters, scope) |> add(max, done)

  defp put({:section, path, nodes}, scope, max, done) do
    case look_up(path, scope) do
      {:ok, value} -> value |> items() |> Enum.reduce(done, &put_all(nodes, [&1 | scope], max, count(&2)))
      :error -> done
    end
  end

  defp put({:inverted, path, nodes}, scope, max, done) do
    case look_up(path, scope) do
      {:ok, value} -> if items(value) == [], do: put_all(nodes, scope, max, done), else: done
      :error -> put_all(nodes, scope, max, done)
    end
  end

  defp put_all(nodes, scope, max, done), do: Enum.reduce(nodes, done, &put(&1, scope, max, &2))

  defp count({_parts, _size, @max_items}) do
    throw({:template, Error.new(:limit_exceeded, "the template's sections repeat more than #{@max_items} times")})
  end

  defp count({parts, size, items}), do: {parts, size, items + 1}

  defp add(text, max, {parts, size, items}) do
    size = size + byte_size(text)

    if size > max,
      do: throw({:template, Error.new(:limit_exceeded, "the rendered template has more than #{max} bytes")})

    {[text | parts], size, items}
  end

  defp items(list) when is_list(list), do: list
  defp items(empty) when empty in [nil, false, ""], do: []
  defp items(value), do: [value]

  defp value(path, filters, scope) do
    default = filters[:default]

    case look_up(path, scope) do
      {:ok, empty} when empty in [nil, ""] and default != nil -> default
      {:ok, value} -> if filters[:json], do: json(value, path), else: text(value, path)
      :error when default != nil -> default
      :error -> throw({:template, missing(path)})
    end
  end

  defp look_up([], [value | _outer]), do: {:ok, value}
  defp look_up(_path, []), do: :error

  defp look_up([name | rest] = path, [value | outer]) do
    case member(value, name) do
      {:ok, found} -> dig(found, rest)
      :error -> look_up(path, outer)
    end
  end

  defp dig(value, []), do: {:ok, value}
  defp dig(value, [name | rest]), do: with({:ok, found} <- member(value, name), do: dig(found, rest))

  defp member(%DSPex.Ordered{pairs: pairs}, name), do: find(pairs, name)
  defp member(map, name) when is_map_key(map, name), do: Map.fetch(map, name)
  # Keys may be atoms of the caller's; none is made of the template's text.
  defp member(map, name) when is_map(map) and not is_struct(map), do: map |> Map.to_list() |> find(name)
  defp member(list, name) when is_list(list), do: place(list, Integer.parse(name))
  defp member(_value, _name), do: :error

  defp find(pairs, name) do
    Enum.find_value(pairs, :error, fn {key, value} -> if to_key(key) == name, do: {:ok, value} end)
  end

  defp to_key(key) when is_atom(key), do: Atom.to_string(key)
  defp to_key(key), do: key

  defp place(list, {place, ""}), do: Enum.fetch(list, place)
  defp place(_list, _no_number), do: :error

  defp text(nil, _path), do: ""
  defp text(value, _path) when is_binary(value), do: value
  defp text(value, _path) when is_number(value) or is_atom(value), do: to_string(value)
  defp text(%module{} = value, _path) when module in [Date, DateTime, NaiveDateTime, Time], do: to_string(value)
  defp text(value, path), do: json(value, path)

  defp json(value, path) do
    case DSPex.Wire.Json.encode(value) do
      {:ok, json, []} -> IO.iodata_to_binary(json)
      {:ok, _json, _parts} -> throw({:template, no_text(path, "it holds large bytes")})
      {:error, error} -> throw({:template, no_text(path, error.message)})
    end
  end

  defp no_text(path, why), do: Error.new(:invalid_input, "the value of #{name(path)} has no text: #{why}")

  defp missing(path) do
    message = "the template needs a value for #{name(path)}; give one, or a default: {{#{name(path)} | default: \"…\"}}"
    Error.new(:invalid_input, message, details: %{"missing" => [name(path)]})
  end

  defp name([]), do: "."
  defp name(path), do: Enum.join(path, ".")
end
