defmodule DSPex.Native.Adapter.Validate do
  @moduledoc """
  Values against types as pydantic's lax mode takes them, with its coercions. A union takes the member that fits best:
  the exact one, else the model with most fields, else the least coerced.

      iex> DSPex.Native.Adapter.Validate.value("5", :int)
      {:ok, 5}
      iex> DSPex.Native.Adapter.Validate.value([1, "x"], {:list, [:int]})
      {:error, [{[1], "a whole number is expected, not 'x'"}]}
  """

  alias DSPex.Native.Adapter.Validate.Dates
  alias DSPex.Native.Adapter.Validate.Limits
  alias DSPex.Native.Adapter.Validate.Models
  alias DSPex.Native.Adapter.Validate.Outcome
  alias DSPex.Native.Adapter.Validate.OwnTypes
  alias DSPex.Native.Adapter.Validate.Scalars
  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Type

  @scalars [:str, :int, :float, :bool, :none, :none_value, :any, :bytes, :complex]
  @mappings ~w(collections.abc.Mapping collections.abc.MutableMapping collections.defaultdict collections.OrderedDict)
  @sets ~w(collections.abc.Set collections.abc.MutableSet)
  @max_depth 200

  @doc "The coerced value, or everything that is wrong with it, each with its path."
  @spec value(Python.value(), Type.t()) :: {:ok, Python.value()} | {:error, Outcome.problems()}
  def value(value, type) do
    case run(value, type, 0) do
      {:ok, value, _exact, _count} -> {:ok, value}
      {:error, problems} -> {:error, problems}
    end
  end

  @doc false
  @spec run(Python.value(), Type.t(), non_neg_integer) :: Outcome.result()
  def run(_value, _type, depth) when depth > @max_depth, do: {:error, [{[], "the value is nested too deeply"}]}
  def run(value, type, _depth) when type in @scalars, do: Scalars.run(value, type)
  def run(value, type, depth) when type in [:list, :set, :frozenset], do: run(value, {type, [:any]}, depth)
  def run(value, {:bare, {kind, _args}}, depth), do: run(value, kind, depth)
  def run(value, {:bare, {:generic, name, _args}}, depth) when name in @mappings, do: run(value, :dict, depth)

  def run(value, {:bare, {:generic, name, _args}}, depth), do: run(value, {:generic, name, [:any]}, depth)
  def run(value, :tuple, depth), do: run(value, {:tuple, [:any, :ellipsis]}, depth)
  def run(value, :dict, depth), do: run(value, {:dict, [:any, :any]}, depth)
  def run(value, {:list, [item]}, depth), do: with_items(value, item, depth, 2, & &1)
  def run(value, {kind, [item]}, depth) when kind in [:set, :frozenset], do: set(value, item, depth)

  def run(value, {:tuple, [item, :ellipsis]}, depth),
    do: with_items(value, item, depth, tuple_exact(value), &{:tuple, &1})

  def run(value, {:tuple, types}, depth), do: tuple(value, types, depth)
  def run({pairs}, {:dict, [key, item]}, depth) when is_list(pairs), do: dict(pairs, key, item, depth)
  def run(value, {:dict, _args}, _depth), do: Outcome.wrong("a dict is expected", value)
  def run(value, {:generic, name, args}, depth) when name in @mappings, do: run(value, {:dict, args}, depth)
  def run(value, {:generic, "collections.Counter", [key]}, depth), do: run(value, {:dict, [key, :int]}, depth)
  def run(value, {:generic, name, [item]}, depth) when name in @sets, do: set(value, item, depth)

  # A sequence stays what it is; a set is none.
  def run({:set, _items} = value, {:generic, _name, _args}, _depth), do: Outcome.wrong("a sequence is expected", value)

  def run({:tuple, _items} = value, {:generic, "collections.abc.Sequence", [item]}, depth),
    do: with_items(value, item, depth, 2, &{:tuple, &1})

  def run(value, {:generic, _name, [item]}, depth), do: with_items(value, item, depth, 2, & &1)
  def run(value, {:union, types}, depth), do: union(value, types, depth)
  def run(value, {:literal, allowed}, _depth), do: literal(value, allowed)
  def run(value, {:annotated, type, metadata}, depth), do: value |> run(type, depth) |> Limits.check(metadata)
  def run(value, {:enum, definition}, _depth), do: enum(value, definition)
  def run({:model, name, pairs}, {:model, %{name: name}}, _depth), do: {:ok, {:model, name, pairs}, 2, length(pairs)}
  def run(value, {:model, definition}, depth), do: Models.run(value, definition, depth + 1, &run/3)
  def run(value, {:ref, _schema, _defs} = type, depth), do: Models.resolve(value, type, depth + 1, &run/3)
  def run(value, {:dspy, name}, depth), do: OwnTypes.run(value, name, &run(&1, &2, depth + 1))
  def run(value, {:code, _language}, depth), do: OwnTypes.run(value, "Code", &run(&1, &2, depth + 1))
  def run(value, {:class, name}, _depth), do: Dates.run(value, name)

  defp tuple_exact({:tuple, _items}), do: 2
  defp tuple_exact(_value), do: 0

  defp sequence(items) when is_list(items), do: {:ok, items}
  defp sequence({kind, items}) when kind in [:tuple, :set] and is_list(items), do: {:ok, items}
  defp sequence(_other), do: :error

  defp with_items(value, type, depth, exact, wrap) do
    case sequence(value) do
      {:ok, items} ->
        exact = if is_list(value), do: exact, else: min(exact, tuple_exact(value))

        all(items, type, depth + 1, {exact, nil}, [], 0, wrap)

      :error ->
        Outcome.wrong("a list is expected", value)
    end
  end

  defp all([], _type, _depth, {exact, count}, done, _at, wrap),
    do: {:ok, done |> Enum.reverse() |> wrap.(), exact, count}

  defp all([item | rest], type, depth, {exact, count}, done, at, wrap) do
    case run(item, type, depth) do
      {:ok, value, own, nil} ->
        all(rest, type, depth, {min(own, exact), count}, [value | done], at + 1, wrap)

      {:ok, value, own, more} ->
        all(rest, type, depth, {min(own, exact), (count || 0) + more}, [value | done], at + 1, wrap)

      wrong ->
        {:error, wrong |> at(at) |> problems() |> Kernel.++(rest(rest, type, depth, at + 1))}
    end
  end

  # Behind the first problem only problems count.
  defp rest(items, type, depth, from) do
    items
    |> Enum.with_index(from)
    |> Enum.flat_map(fn {item, at} -> item |> run(type, depth) |> at(at) |> problems() end)
  end

  defp at({:error, problems}, step), do: {:error, Enum.map(problems, fn {path, text} -> {[step | path], text} end)}
  defp at(result, _step), do: result

  defp wrapped(results, exact, wrap) do
    case Enum.flat_map(results, &problems/1) do
      [] -> {:ok, results |> Enum.map(&elem(&1, 1)) |> wrap.(), least(results, exact), count(results)}
      problems -> {:error, problems}
    end
  end

  defp problems({:error, problems}), do: problems
  defp problems(_ok), do: []

  defp least(results, exact), do: Enum.reduce(results, exact, fn result, least -> min(least, elem(result, 2)) end)

  defp count(results) do
    case for {:ok, _value, _exact, count} when count != nil <- results, do: count do
      [] -> nil
      counts -> Enum.sum(counts)
    end
  end

  defp set(value, item, depth) do
    exact = if match?({:set, _items}, value), do: 2, else: 0

    with {:ok, {:set, items}, _exact, _count} = found <-
           with_items(value, item, depth, exact, &{:set, Python.unique(&1)}) do
      case Enum.reject(items, &Python.hashable?/1) do
        [] -> found
        [other | _more] -> Outcome.wrong("items of a set are texts, numbers and the like", other)
      end
    end
  end

  defp tuple(value, types, depth) do
    case sequence(value) do
      {:ok, items} when length(items) == length(types) ->
        items
        |> Enum.zip(types)
        |> Enum.with_index()
        |> Enum.map(fn {{item, type}, at} -> at(run(item, type, depth + 1), at) end)
        |> wrapped(tuple_exact(value), &{:tuple, &1})

      {:ok, items} ->
        {:error, [{[], "#{length(types)} items are expected, not #{length(items)}"}]}

      :error ->
        Outcome.wrong("a list of #{length(types)} items is expected", value)
    end
  end

  defp dict(pairs, key_type, item_type, depth) do
    keys = Enum.map(pairs, fn {key, _item} -> at(run(key, key_type, depth + 1), Python.str(key)) end)
    items = Enum.map(pairs, fn {key, item} -> at(run(item, item_type, depth + 1), Python.str(key)) end)

    case Enum.flat_map(keys ++ items, &problems/1) do
      [] ->
        {:ok, {Enum.zip(Enum.map(keys, &elem(&1, 1)), Enum.map(items, &elem(&1, 1)))}, least(keys ++ items, 2),
         count(items)}

      problems ->
        {:error, problems}
    end
  end

  defp union(value, types, depth) do
    types
    |> Enum.reduce_while({nil, []}, fn type, {best, wrong} ->
      case run(value, type, depth + 1) do
        {:ok, _value, 2, nil} = exact -> {:halt, {exact, []}}
        {:ok, _value, _exact, _count} = found -> {:cont, {better(best, found), wrong}}
        {:error, problems} -> {:cont, {best, wrong ++ Enum.take(problems, 5)}}
      end
    end)
    |> case do
      {nil, problems} -> {:error, Enum.take(problems, 20)}
      {best, _wrong} -> best
    end
  end

  defp better(nil, new), do: new

  defp better({:ok, _old, _exact, old_count} = old, {:ok, _new, _new_exact, new_count} = new)
       when is_integer(old_count) and is_integer(new_count) and old_count != new_count,
       do: if(new_count > old_count, do: new, else: old)

  defp better(old, new), do: if(elem(new, 2) > elem(old, 2), do: new, else: old)

  # The same value wins; else the one that Python holds for equal, as 1 and True are.
  defp literal(value, allowed) do
    same = Enum.find(allowed, :none, &(&1 === value))

    case if(same == :none, do: Enum.find(allowed, :none, &Python.equal?(&1, value)), else: same) do
      :none -> Outcome.wrong("one of #{Enum.map_join(allowed, ", ", &Python.repr/1)} is expected", value)
      found -> {:ok, found, 2, nil}
    end
  end

  defp enum({:enum, name, _member, _value} = value, %{name: name}), do: {:ok, value, 2, nil}

  defp enum(value, %{name: name, members: members} = definition) do
    value = if is_integer(definition |> Map.get(:members) |> hd() |> elem(1)), do: whole(value, definition), else: value

    case Enum.find(members, fn {_member, own} -> own === value end) do
      {member, own} -> {:ok, {:enum, name, member, own}, 0, nil}
      nil -> Outcome.wrong("a value of #{name} is expected", value)
    end
  end

  # An enum of integers takes what an integer takes; a plain one only its values.
  defp whole(value, %{mixin: nil}), do: value

  defp whole(value, _definition) do
    case Scalars.run(value, :int) do
      {:ok, number, _exact, _count} -> number
      {:error, _problems} -> value
    end
  end
end
