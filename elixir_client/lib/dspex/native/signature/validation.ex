defmodule DSPex.Native.Signature.Validation do
  @moduledoc "Values against fields: exactly the declared ones, each of its type and within its constraints."

  alias DSPex.Native.Python
  alias DSPex.Native.Adapter.Validate
  alias DSPex.Signature.Field

  @doc "See `DSPex.Signature.validate_inputs/2`. `what` is `\"input\"` or `\"output\"`."
  @spec validate([Field.t()], map | keyword | DSPex.Ordered.t(), String.t()) :: {:ok, map} | {:error, DSPex.Error.t()}
  def validate(fields, values, what) do
    given = Map.new(values, &named/1)
    with :error <- fitting(fields, given, what, 0, []), do: told(fields, given, what)
  end

  defp named({name, _value} = pair) when is_binary(name), do: pair
  defp named({name, value}), do: {to_string(name), value}

  # What fits needs no list of what does not.
  defp fitting([], given, _what, used, done), do: if(used == map_size(given), do: {:ok, Map.new(done)}, else: :error)

  defp fitting([%Field{name: name} = field | rest], given, what, used, done) do
    case one(field, given, what) do
      {:ok, value} when is_map_key(given, name) -> fitting(rest, given, what, used + 1, [{name, value} | done])
      {:ok, value} -> fitting(rest, given, what, used, [{name, value} | done])
      {:error, _problems} -> :error
    end
  end

  defp told(fields, given, what) do
    results = Enum.map(fields, &{&1.name, one(&1, given, what)})
    wrong = for {name, {:error, problems}} <- results, problem <- problems, do: located(problem, name)
    extra = for name <- Enum.sort(Map.keys(given) -- Enum.map(fields, & &1.name)), do: extra(name, what)

    {:error, error(wrong ++ extra, what)}
  end

  defp one(%Field{name: name} = field, given, what) do
    case {given, field.default} do
      {%{^name => value}, _default} -> with({:ok, value} <- term(value), do: check(value, field))
      {_given, {:ok, default}} -> {:ok, Python.to_elixir(default)}
      {_given, :none} -> {:error, [{[], "the #{what} `#{name}` is missing"}]}
    end
  end

  defp term(value) do
    {:ok, Python.from_elixir(value)}
  rescue
    error in ArgumentError -> {:error, [{[], error.message}]}
  end

  # An input without a type takes whatever DSPy can print, as a worker takes it.
  defp check(value, %Field{role: :input, typed?: false, constraints: none}) when none in [[], nil] do
    if is_list(value) and not Enum.all?(value, &is_binary/1),
      do: {:error, [{[], "it has no type, so a list must be one of texts; give it a type"}]},
      else: {:ok, Python.to_elixir(value)}
  end

  defp check(value, %Field{type: type, metadata: [], constraints: none}) when none in [[], nil] do
    with {:ok, value} <- Validate.value(value, type), do: {:ok, Python.to_elixir(value)}
  end

  defp check(value, %Field{type: type} = field) do
    metadata = field.metadata ++ [{:field, field.constraints}]

    with {:ok, value} <- Validate.value(value, {:annotated, type, metadata}), do: {:ok, Python.to_elixir(value)}
  end

  defp located({path, message}, name), do: %{"path" => [name | path], "message" => message}
  defp extra(name, what), do: %{"path" => [name], "message" => "the signature has no #{what} `#{name}`"}

  defp error(problems, what) do
    text = Enum.map_join(problems, "; ", &"#{Enum.join(&1["path"], ".")}: #{&1["message"]}")

    DSPex.Error.new(:invalid_input, "the #{what}s do not fit the signature: #{text}", details: %{"problems" => problems})
  end
end
