defmodule DSPex.Check do
  @moduledoc """
  Whether the arguments of a function are of the right kind. The error names the argument, never what a value holds.
  """

  alias DSPex.Error

  # Names alone: the modules ask this one.
  @program :"Elixir.DSPex.Program"
  @session :"Elixir.DSPex.Session"
  @async :"Elixir.DSPex.Async"
  @tool :"Elixir.DSPex.Tool"
  @pipeline :"Elixir.DSPex.Pipeline"
  @lm :"Elixir.DSPex.Native.LM"
  @ordered :"Elixir.DSPex.Ordered"

  @most_workers 128

  @type outcome :: :ok | {:error, Error.t()}

  @doc """
  Checks arguments by their kinds, in order; the first that is wrong is the error.

      iex> DSPex.Check.all(timeout: 5, options: [])
      :ok
      iex> {:error, error} = DSPex.Check.all(timeout: :soon)
      iex> error.message
      "timeout is :soon; it must be milliseconds or :infinity"
  """
  @spec all([{atom, term}]) :: outcome
  def all(arguments) do
    Enum.find_value(arguments, :ok, fn {name, value} ->
      if not fits?(name, value), do: {:error, Error.argument("#{name} is #{shown(value)}; it must be #{wanted(name)}")}
    end)
  end

  @meta [:session, :tenant, :idempotency_key, :traceparent]

  @doc """
  Checks those options that name what a request belongs to: `:session`, `:tenant`, `:idempotency_key`, `:traceparent`.

      iex> DSPex.Check.meta(tenant: "acme", timeout: 5)
      :ok
      iex> {:error, error} = DSPex.Check.meta(tenant: {:acme, 1})
      iex> error.message
      "tenant is a tuple; it must be a text"
  """
  @spec meta(keyword) :: outcome
  def meta(options) do
    case Enum.find(options, fn {name, value} -> name in @meta and not (is_binary(value) or is_atom(value)) end) do
      nil -> :ok
      {name, value} -> {:error, Error.argument("#{name} is #{shown(value)}; it must be a text")}
    end
  end

  defp fits?(:program, value), do: is_struct(value, @program)
  defp fits?(:inputs, value), do: is_map(value) or Keyword.keyword?(value)
  defp fits?(:options, value), do: Keyword.keyword?(value)
  defp fits?(:timeout, value), do: value == :infinity or (is_integer(value) and value >= 0)
  defp fits?(:signature, value), do: is_binary(value) or is_map(value)
  defp fits?(:text, value), do: is_binary(value)
  defp fits?(:method, value), do: is_binary(value)
  defp fits?(:params, value), do: pairs?(value)
  defp fits?(:session, value), do: is_struct(value, @session)
  defp fits?(:max_concurrency, value), do: is_integer(value) and value > 0
  defp fits?(:tools, value), do: list?(value) and Enum.all?(value, &is_struct(&1, @tool))
  defp fits?(:id, value), do: value == nil or is_binary(value)
  defp fits?(:async, value), do: is_struct(value, @async)

  defp fits?(:pid, value), do: is_pid(value)
  defp fits?(:instance, value), do: is_atom(value)
  defp fits?(:pool, value), do: is_atom(value)
  defp fits?(:encoding, value), do: value in [nil, :json, :msgpack]
  defp fits?(:values, value), do: pairs?(value)
  defp fits?(:fields, value), do: pairs?(value)
  defp fits?(:template, value), do: is_binary(value)
  defp fits?(:steps, value), do: list?(value)
  defp fits?(:pipeline, value), do: is_struct(value, @pipeline)
  defp fits?(:lm, value), do: is_struct(value, @lm)
  defp fits?(:prompt, value), do: is_binary(value) or (list?(value) and Enum.all?(value, &is_map/1))

  defp fits?(name, value) when name in [:on_text, :on_progress], do: value == nil or is_function(value, 1)
  defp fits?(:worker, value), do: value == nil or (is_integer(value) and value in 1..@most_workers)

  defp fits?(:optimizer, {name, config}), do: fits?(:optimizer, name) and fits?(:values, config)
  defp fits?(:optimizer, value), do: (is_atom(value) and value not in [nil, true, false]) or is_binary(value)

  # A map has pairs, which are no inputs; a function of two arguments may be a stream.
  defp fits?(:inputs_list, value) when is_function(value), do: is_function(value, 2)
  defp fits?(:inputs_list, value) when is_list(value), do: list?(value)
  defp fits?(:inputs_list, value), do: (not is_map(value) or is_struct(value)) and Enumerable.impl_for(value) != nil

  defp list?(value), do: is_list(value) and not List.improper?(value)

  defp pairs?(value) when is_struct(value, @ordered), do: true
  defp pairs?(value) when is_struct(value), do: false
  defp pairs?(value) when is_map(value), do: value |> Map.keys() |> Enum.all?(&name?/1)
  defp pairs?(value), do: list?(value) and Enum.all?(value, &(match?({_name, _value}, &1) and name?(elem(&1, 0))))

  defp name?(name), do: is_binary(name) or is_atom(name)

  defp wanted(:program), do: "a program, made by DSPex.Predict.new/2 or its siblings"
  defp wanted(:inputs), do: "a map or keyword list of the program's input fields"
  defp wanted(:options), do: "a keyword list"
  defp wanted(:timeout), do: "milliseconds or :infinity"
  defp wanted(:signature), do: "a text like \"question -> answer\", or a map"
  defp wanted(:text), do: "a text"
  defp wanted(:method), do: "a text like \"ping\""
  defp wanted(:params), do: "a map or list of names (texts or atoms) and values"
  defp wanted(:session), do: "a session, made by DSPex.Session.open/1 or ref/2"
  defp wanted(:max_concurrency), do: "a whole number from 1"
  defp wanted(:tools), do: "a list of DSPex.Tool, made by DSPex.Tool.new/3"
  defp wanted(:id), do: "a text"
  defp wanted(:async), do: "a call, made by DSPex.async/3"
  defp wanted(:inputs_list), do: "a list of inputs"
  defp wanted(:pid), do: "a process"
  defp wanted(:instance), do: "the name that the instance was started with"
  defp wanted(name) when name in [:on_text, :on_progress], do: "a function of one argument"
  defp wanted(:worker), do: "the number of a worker, from 1 to #{@most_workers}"
  defp wanted(:optimizer), do: "a name like :bootstrap_few_shot, or {name, settings}"
  defp wanted(:pool), do: "one of the names that the instance was started with"
  defp wanted(:encoding), do: ":json or :msgpack"
  defp wanted(name) when name in [:values, :fields], do: "a map or list of names (texts or atoms) and values"
  defp wanted(:template), do: "a text like \"Hello {{name}}\""
  defp wanted(:steps), do: "a list of steps"
  defp wanted(:pipeline), do: "a pipeline, made by DSPex.Pipeline.new/2"
  defp wanted(:lm), do: "an LM, made by DSPex.lm_client/1"
  defp wanted(:prompt), do: "a text, or a list of messages (maps)"

  @doc """
  Names a value without what it holds: atoms and numbers as they are, others by their kind.

      iex> DSPex.Check.shown("sk-secret")
      "a text"
  """
  @spec shown(term) :: String.t()
  def shown(value) when is_atom(value) or is_number(value), do: inspect(value)
  def shown(value) when is_binary(value), do: "a text"
  def shown(value) when is_list(value), do: "a list"
  def shown(%name{}), do: "a #{inspect(name)}"
  def shown(value) when is_map(value), do: "a map"
  def shown(value) when is_tuple(value), do: "a tuple"
  def shown(value) when is_function(value), do: "a function"
  def shown(_value), do: "something else"
end
